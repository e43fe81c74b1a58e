"""Files of rollouts that can be opened: a run's own, those of `flowtracer score`, TRL's and prime-rl's.

Each reader takes the files of one folder and reads no more of them than is requested.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet

from flowtracer.records import parse_record, read_lines
from flowtracer.watching.completions import is_completions, read_completions
from flowtracer.watching.parts import VERSION_KEY, read_part
from flowtracer.watching.prime_rl import is_token_export, read_token_exports
from flowtracer.watching.rollout import WatchedFile
from flowtracer.watching.scored import is_scored, read_scored

# From token ids to the text of each token.
Decode = Callable[[Sequence[int]], Sequence[str]]

# Where files are inside a folder, the first pattern that fits.
PATTERNS = (
    "rollouts/step-*.parquet",
    "step-*.parquet",
    "parts/part-*.parquet",
    "part-*.parquet",
    "completions/completions_*.parquet",
    "completions_*.parquet",
    "token_exports/step_*/rank_*.jsonl",
    "step_*/rank_*.jsonl",
    "rank_*.jsonl",
)
WHAT_OPENS = (
    "a trace.json, the folder or a file of a training run (rollouts/step-*.parquet), of `flowtracer score` "
    "(parts/part-*.parquet), of TRL's log_completions (completions_*.parquet) or of prime-rl's token export "
    "(token_exports/step_*/rank_*.jsonl)"
)
MOST_STEPS = 200  # that are read of a run, evenly spaced, our choice


def read_rollouts(path: Path, *, rows: int = 200, decode: Decode | None = None) -> WatchedFile:
    """The rollouts of a file or a folder.

    rows: at most so many of files that hold a whole data set or a whole batch; a run keeps few, which are
    all read. decode: of token ids where there is no text; without it ids are shown.

    Raises ValueError, which names what can be opened.
    """
    files = rollout_files(path)
    if files[0].suffix == ".jsonl":
        first = next((parse_record(line) for _, _, line in read_lines(files[0])), {})
        if is_token_export(first):
            return read_token_exports(files, rows=rows, decode=decode)
        raise ValueError(f"{files[0]}: is no token export of prime-rl; show opens {WHAT_OPENS}")
    try:
        schema = parquet.read_schema(files[0])
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{files[0]}: is no readable Parquet file ({error})") from None
    if VERSION_KEY in (schema.metadata or {}):
        return _read_run(files)
    if is_scored(schema.names):
        return read_scored(files, rows=rows, decode=decode)
    if is_completions(schema.names):
        return read_completions(files, rows=rows)
    raise ValueError(
        f"{files[0]}: has columns {', '.join(schema.names[:8])}, which are none of a file of rollouts; "
        f"show opens {WHAT_OPENS}"
    )


def rollout_files(path: Path) -> list[Path]:
    """The file itself, or those of a folder, in the order of their steps. Raises ValueError if none."""
    if path.is_file():
        if path.suffix in (".parquet", ".jsonl"):
            return [path]
        raise ValueError(f"{path}: cannot be opened; show opens {WHAT_OPENS}")
    if not path.is_dir():
        raise ValueError(f"{path} does not exist; show opens {WHAT_OPENS}")
    for pattern in PATTERNS:
        files = sorted(path.glob(pattern), key=_by_number)
        if files:
            return files
    raise ValueError(f"{path} holds nothing to show; show opens {WHAT_OPENS}")


def evenly_spaced(files: Sequence[Path], most: int) -> list[Path]:
    """At most so many files, the first and the last among them."""
    if len(files) <= most:
        return list(files)
    return [files[round(i * (len(files) - 1) / (most - 1))] for i in range(most)]


def _read_run(files: Sequence[Path]) -> WatchedFile:
    chosen = evenly_spaced(files, MOST_STEPS)
    rollouts = [one for file in chosen for one in read_part(file)]
    notes = []
    if len(chosen) < len(files):
        notes.append(f"{len(chosen)} of {len(files)} logged steps were read, evenly spaced")
    return WatchedFile(rollouts, "training run", notes)


def _by_number(path: Path) -> tuple[list[int], str]:
    """Numbers in the last two parts of a path as numbers: step_9 is before step_10."""
    digits = "".join(sign if sign.isdigit() else " " for sign in "/".join(path.parts[-2:]))
    return [int(number) for number in digits.split()], str(path)

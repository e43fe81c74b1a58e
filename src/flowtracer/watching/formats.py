"""Files of rollouts that can be opened: a run's own, those of `flowtracer score`, TRL's and prime-rl's.

Each reader takes the files of one folder and reads no more of them than is requested.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyarrow

from flowtracer.records import read_records
from flowtracer.watching.choice import evenly
from flowtracer.watching.completions import is_completions, read_completions
from flowtracer.watching.parts import VERSION_KEY, read_part
from flowtracer.watching.prime_rl import is_token_export, read_token_exports
from flowtracer.watching.rollout import WatchedFile, WatchedRollout, check_rollout
from flowtracer.watching.scored import is_scored, read_scored
from flowtracer.watching.tables import read_schema

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
    read = _reader(files)
    return _checked(path, lambda: read(files, rows, decode))


def _reader(files: Sequence[Path]) -> Callable[[Sequence[Path], int, Decode | None], WatchedFile]:
    """What reads these files. Raises ValueError if nothing does."""
    if files[0].suffix == ".jsonl":
        first = next((record for file in files for _, record in read_records(file)), None)
        if first is None:
            raise ValueError(f"{files[0]}: is empty; show opens {WHAT_OPENS}")
        if not is_token_export(first):
            raise ValueError(f"{files[0]}: is no token export of prime-rl; show opens {WHAT_OPENS}")
        return lambda files, rows, decode: read_token_exports(files, rows=rows, decode=decode)
    schema = _first_schema(files)
    if VERSION_KEY in (schema.metadata or {}):
        return lambda files, rows, decode: _read_run(files)
    if is_scored(schema.names):
        return lambda files, rows, decode: read_scored(files, rows=rows, decode=decode)
    if is_completions(schema.names):
        return lambda files, rows, decode: read_completions(files, rows=rows)
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


def _first_schema(files: Sequence[Path]) -> pyarrow.Schema:
    """Of the first file that can be read. Raises ValueError if none can, about the first."""
    for file in files:
        with suppress(ValueError):
            return read_schema(file)
    return read_schema(files[0])


def _read_run(files: Sequence[Path]) -> WatchedFile:
    """Rollouts of the steps; of several files those that are damaged are left out, and it is said."""
    chosen = evenly(files, MOST_STEPS)
    rollouts: list[WatchedRollout] = []
    damaged: list[ValueError] = []
    for file in chosen:
        try:
            rollouts += _checked(file, partial(_read_step, file)).rollouts
        except ValueError as error:
            damaged.append(error)
    if len(damaged) == len(chosen):
        raise damaged[0]
    notes = []
    if len(chosen) < len(files):
        notes.append(f"{len(chosen)} of {len(files)} logged steps were read, evenly spaced")
    if damaged:
        notes.append(f"{len(damaged)} of {len(chosen)} files are left out: {damaged[0]}")
    return WatchedFile(rollouts, "training run", notes)


def _read_step(file: Path) -> WatchedFile:
    return WatchedFile(read_part(file), "a step")


def _checked(path: Path, read: Callable[[], WatchedFile]) -> WatchedFile:
    """What is read, if it is what its fields say. Raises ValueError."""
    try:
        watched = read()
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{path}: holds other values than its columns should ({error})") from None
    for rollout in watched.rollouts:
        try:
            check_rollout(rollout)
        except ValueError as error:
            step = "" if rollout.step is None else f"step {rollout.step}, "
            raise ValueError(
                f"{path}: {step}row {rollout.row}: {error}; was the file written by something else?"
            ) from None
    return watched


def _by_number(path: Path) -> tuple[list[int], str]:
    """Numbers in the last two parts of a path as numbers: step_9 is before step_10."""
    digits = "".join(sign if sign.isdigit() else " " for sign in "/".join(path.parts[-2:]))
    return [int(number) for number in digits.split()], str(path)

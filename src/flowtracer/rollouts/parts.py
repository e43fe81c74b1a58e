"""The output of a shard: a Parquet part with a row for each rollout, and the errors of the others."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from flowtracer.rollouts.columns import SCHEMA
from flowtracer.storage import (
    atomic_write,
    read_json,
    remove_partials,
    sha256,
    write_json,
    write_rows,
)

SETTINGS_FILE = "score.json"


@dataclass(frozen=True)
class PartCounts:
    """Rows of a shard: scored, those of them with an answer, and those that are errors."""

    rows: int = 0
    answered: int = 0
    errors: int = 0

    @property
    def total(self) -> int:
        return self.rows + self.errors

    def __add__(self, other: "PartCounts") -> "PartCounts":
        return PartCounts(
            self.rows + other.rows, self.answered + other.answered, self.errors + other.errors
        )


def part_path(folder: Path, number: int) -> Path:
    """Where the scored rows of a shard are; `read_counts` says whether the shard is done."""
    return folder / "parts" / f"part-{number:06d}.parquet"


def errors_path(folder: Path, number: int) -> Path:
    """Where the rows of a shard are that could not be scored, with the reason."""
    return folder / "errors" / f"part-{number:06d}.jsonl"


def check_path(folder: Path, number: int) -> Path:
    """Where the counts and the hashes of both files are, and the run and shard they belong to."""
    return folder / "checks" / f"part-{number:06d}.json"


PATHS = (part_path, errors_path, check_path)


def run_of(folder: Path) -> str:
    """What identifies the settings and the input of a run: parts of another run have another one."""
    return sha256(folder / SETTINGS_FILE)


def write_part(
    folder: Path,
    number: int,
    rows: Sequence[pyarrow.RecordBatch],
    errors: Sequence[dict[str, Any]],
    *,
    run: str,
) -> PartCounts:
    """Write the files of a shard, each atomically, the part last."""
    for path in PATHS:
        path(folder, number).parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.Table.from_batches(rows, SCHEMA)
    answered = compute.sum(table["answered"]).as_py() or 0
    counts = PartCounts(table.num_rows, answered, len(errors))
    write_rows(errors_path(folder, number), errors)
    with atomic_write(part_path(folder, number)) as partial:
        parquet.write_table(table, partial)
        hashes = [sha256(partial), sha256(errors_path(folder, number))]
        check = {"run": run, "number": number, "sha256": hashes, "counts": asdict(counts)}
        write_json(check_path(folder, number), check)
    return counts


def read_counts(folder: Path, number: int, *, run: str) -> PartCounts:
    """Counts of a shard; zeros if a file is missing, damaged, or of another run or shard."""
    try:
        check = read_json(check_path(folder, number), dict)
        counts = PartCounts(**check.pop("counts"))
        hashes = [sha256(part_path(folder, number)), sha256(errors_path(folder, number))]
    except (OSError, ValueError, KeyError, TypeError):
        return PartCounts()
    fits = check == {"run": run, "number": number, "sha256": hashes}
    return counts if fits else PartCounts()


def remove_strangers(folder: Path, parts: int) -> None:
    """Remove what is left over in the folders of parts: half-written files, and parts beyond the last."""
    for path in PATHS:
        known = {path(folder, number) for number in range(parts)}
        remove_partials(path(folder, 0).parent)
        for stranger in set(path(folder, 0).parent.glob("part-*")) - known:
            stranger.unlink()

"""What comes out of a shard: a Parquet part with a row for each rollout, and the errors of the rest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet

from flowtracer.storage import atomic_write, write_rows

# Lists have one entry for each token of prompt and response; docs/score.md describes the columns.
SCHEMA = pyarrow.schema(
    [
        pyarrow.field("row", pyarrow.int64(), nullable=False),
        pyarrow.field("id", pyarrow.string()),
        pyarrow.field("prompt_tokens", pyarrow.int32(), nullable=False),
        pyarrow.field("token_ids", pyarrow.list_(pyarrow.int32()), nullable=False),
        pyarrow.field("candidate", pyarrow.list_(pyarrow.bool_()), nullable=False),
        pyarrow.field("answer", pyarrow.list_(pyarrow.float32()), nullable=False),
        pyarrow.field("score", pyarrow.list_(pyarrow.float32()), nullable=False),
        pyarrow.field("weight", pyarrow.list_(pyarrow.float32()), nullable=False),
        pyarrow.field("answered", pyarrow.bool_(), nullable=False),
        pyarrow.field("scored", pyarrow.bool_(), nullable=False),
        pyarrow.field("advantages", pyarrow.list_(pyarrow.float32())),
    ]
)


def part_path(folder: Path, number: int) -> Path:
    """Where the rows of a shard are; the file is there if and only if the shard is done."""
    return folder / "parts" / f"part-{number:06d}.parquet"


def errors_path(folder: Path, number: int) -> Path:
    """Where the rows of a shard are told that could not be scored."""
    return folder / "errors" / f"part-{number:06d}.jsonl"


def write_part(
    folder: Path, number: int, rows: Sequence[dict[str, Any]], errors: Sequence[dict[str, Any]]
) -> None:
    """Write both files of a shard, each whole or not at all, the part last."""
    for path in (part_path(folder, number), errors_path(folder, number)):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(errors_path(folder, number), errors)
    with atomic_write(part_path(folder, number)) as partial:
        parquet.write_table(pyarrow.Table.from_pylist(list(rows), SCHEMA), partial)


def counts_of(folder: Path, number: int) -> tuple[int, int]:
    """Good and bad rows of a shard that is done."""
    good = parquet.ParquetFile(part_path(folder, number)).metadata.num_rows
    bad = errors_path(folder, number).read_text(encoding="utf-8").count("\n")
    return good, bad

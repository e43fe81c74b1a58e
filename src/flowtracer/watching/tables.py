"""Parquet files as rows; damage is told in one sentence with the file's name."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """A block that reads a Parquet file. Raises ValueError for one that is missing or damaged."""
    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path}: is no readable Parquet file ({error})") from None


def read_schema(path: Path) -> pyarrow.Schema:
    """Columns and metadata. Raises ValueError."""
    with readable(path):
        return parquet.read_schema(path)


def count_rows(path: Path) -> int:
    """Rows of a file, of which only the footer is read. Raises ValueError."""
    with readable(path):
        return int(parquet.read_metadata(path).num_rows)


def first_rows(
    files: Sequence[Path], columns: Sequence[str], count: int
) -> Iterator[dict[str, Any]]:
    """The first rows of Parquet files, of which no more is read than that. Raises ValueError."""
    for path in files:
        if count <= 0:
            return
        with readable(path), parquet.ParquetFile(path) as file:
            there = [name for name in columns if name in file.schema_arrow.names]
            for batch in file.iter_batches(min(count, 64), columns=there):
                for row in batch.to_pylist()[:count]:
                    count -= 1
                    yield row
                if count <= 0:
                    return

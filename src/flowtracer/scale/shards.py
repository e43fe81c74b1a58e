"""Files of rollouts cut into shards of so many rows, which can be read without those before them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet

SUFFIXES = (".jsonl", ".json", ".ndjson", ".parquet")


@dataclass(frozen=True)
class Shard:
    """Rows start..start + rows of a file; `first` counts over all files."""

    number: int
    path: str
    start: int
    rows: int
    first: int
    offset: int = 0  # byte at which the first row begins; JSON Lines only


@dataclass(frozen=True)
class Damaged:
    """A row that is not even a record."""

    reason: str


def find_files(source: Path) -> list[Path]:
    """The file, or the files of a folder by name. Raises ValueError if there is nothing to read."""
    if source.is_file():
        files = [source]
    elif source.is_dir():
        files = sorted(one for one in source.iterdir() if one.suffix in SUFFIXES)
    else:
        raise ValueError(f"{source}: there is no such file or folder")
    if not files or any(one.suffix not in SUFFIXES for one in files):
        raise ValueError(f"{source}: has no rollouts; give files that end in {', '.join(SUFFIXES)}")
    return files


def plan(files: Sequence[Path], size: int) -> list[Shard]:
    """Shards of `size` rows; a shard never spans two files. Blank lines do not count as rows.

    Raises ValueError for a file that cannot be opened or has no rows.
    """
    shards: list[Shard] = []
    first = 0
    for path in files:
        before = first
        for start, rows, offset in _cut(path, size):
            shards.append(Shard(len(shards), str(path), start, rows, first, offset))
            first += rows
        if first == before:
            raise ValueError(f"{path}: has no rows")
    return shards


def read_shard(shard: Shard) -> Iterator[tuple[int, Any]]:
    """Row number over all files and its record, or `Damaged`; memory for one row at a time."""
    path = Path(shard.path)
    rows = _parquet_rows(path, shard) if path.suffix == ".parquet" else _json_rows(path, shard)
    for place, record in enumerate(rows):
        yield shard.first + place, record


def _cut(path: Path, size: int) -> Iterator[tuple[int, int, int]]:
    """First row, number of rows and byte offset of each shard of a file."""
    try:
        if path.suffix == ".parquet":
            total = parquet.ParquetFile(path).metadata.num_rows
            for start in range(0, total, size):
                yield start, min(size, total - start), 0
            return
        with path.open("rb") as file:
            start = rows = offset = begin = 0
            for line in file:
                if line.strip():
                    if rows == size:
                        yield start, rows, begin
                        start, rows = start + rows, 0
                    if rows == 0:
                        begin = offset
                    rows += 1
                offset += len(line)
            if rows:
                yield start, rows, begin
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise ValueError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error


def _json_rows(path: Path, shard: Shard) -> Iterator[Any]:
    with path.open("rb") as file:
        file.seek(shard.offset)
        left = shard.rows
        while left:
            line = file.readline()
            if not line.strip():
                if not line:
                    raise ValueError(f"{path}: became shorter while it was read; start anew")
                continue
            left -= 1
            try:
                yield json.loads(line.decode("utf-8"))
            except UnicodeDecodeError:
                yield Damaged("is not UTF-8 text")
            except (ValueError, RecursionError) as error:
                yield Damaged(f"is not JSON: {error}")


def _parquet_rows(path: Path, shard: Shard) -> Iterator[Any]:
    """Only the row groups that hold the shard are read."""
    file = parquet.ParquetFile(path)
    place, stop = 0, shard.start + shard.rows
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if place + count > shard.start and place < stop:
            at = place
            for batch in file.iter_batches(batch_size=256, row_groups=[group]):
                low, high = max(0, shard.start - at), min(batch.num_rows, stop - at)
                if low < high:
                    yield from batch.slice(low, high - low).to_pylist()
                at += batch.num_rows
        place += count

"""Files of rollouts cut into shards of so many rows, which can be read without those before them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet

from flowtracer.records import parse_record, read_lines

BATCH = 256  # rows decoded together, our choice
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
        files = sorted(path for path in source.iterdir() if path.suffix in SUFFIXES)
    else:
        raise ValueError(f"{source}: there is no such file or folder")
    if not files or any(path.suffix not in SUFFIXES for path in files):
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
            shards.append(Shard(len(shards), str(path.resolve()), start, rows, first, offset))
            first += rows
        if first == before:
            raise ValueError(f"{path}: has no rows")
    return shards


class ShardReader:
    """Reads one shard after another.

    A row group of Parquet can only be entered at its beginning, so it stays open: the next shard in
    it continues where the last one ended.
    """

    def __init__(self) -> None:
        self._group: tuple[str, int] | None = None  # path and number of the row group that is open
        self._batches: Iterator[pyarrow.RecordBatch] = iter(())
        self._open_batch: pyarrow.RecordBatch | None = None
        self._batch_start = 0  # row of the row group at which the open batch begins

    def read(self, shard: Shard) -> Iterator[tuple[int, Any]]:
        """Row number over all files and its record, or `Damaged`; memory for a few rows at a time."""
        path = Path(shard.path)
        rows = self._parquet(shard) if path.suffix == ".parquet" else _json_rows(path, shard)
        yield from enumerate(rows, start=shard.first)

    def _parquet(self, shard: Shard) -> Iterator[Any]:
        metadata = parquet.read_metadata(shard.path)
        begin, stop = 0, shard.start + shard.rows
        for group in range(metadata.num_row_groups):
            end = begin + metadata.row_group(group).num_rows
            low, high = max(shard.start, begin), min(stop, end)
            if low < high:
                yield from self._rows(shard.path, group, low - begin, high - begin)
            begin = end

    def _rows(self, path: str, group: int, start: int, stop: int) -> Iterator[Any]:
        try:
            while start < stop:
                batch = self._batch(path, group, start)
                first = start - self._batch_start
                part = batch.slice(first, min(batch.num_rows - first, stop - start)).to_pylist()
                for record in part:
                    start += 1
                    yield record
        except (OSError, pyarrow.ArrowException) as error:
            self._group = None
            reason = f"cannot be read: {str(error).splitlines()[0]}"
            for _ in range(start, stop):
                yield Damaged(reason)

    def _batch(self, path: str, group: int, row: int) -> pyarrow.RecordBatch:
        """The batch that holds a row of a row group."""
        if self._group != (path, group) or row < self._batch_start:
            file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
            self._group, self._open_batch, self._batch_start = (path, group), None, 0
            self._batches = file.iter_batches(batch_size=BATCH, row_groups=[group])
        while self._open_batch is None or row >= self._batch_start + self._open_batch.num_rows:
            self._batch_start += 0 if self._open_batch is None else self._open_batch.num_rows
            self._open_batch = next(self._batches, None)
            if self._open_batch is None:
                raise pyarrow.ArrowInvalid("the row group is shorter than it says")
        return self._open_batch


def _cut(path: Path, size: int) -> Iterator[tuple[int, int, int]]:
    """First row, number of rows and byte offset of each shard of a file."""
    try:
        if path.suffix == ".parquet":
            total = parquet.ParquetFile(path).metadata.num_rows
            for start in range(0, total, size):
                yield start, min(size, total - start), 0
            return
        start = rows = begin = 0
        for _, offset, _ in read_lines(path):
            if rows == size:
                yield start, rows, begin
                start, rows = start + rows, 0
            if rows == 0:
                begin = offset
            rows += 1
        if rows:
            yield start, rows, begin
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise ValueError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error


def _json_rows(path: Path, shard: Shard) -> Iterator[Any]:
    count = 0
    for _, _, line in islice(read_lines(path, shard.offset), shard.rows):
        count += 1
        try:
            yield parse_record(line)
        except ValueError as error:
            yield Damaged(str(error))
    if count < shard.rows:
        raise ValueError(f"{path}: became shorter while it was read; start again")

"""Rollouts of a run on disk: one Parquet file for each step that is logged, written atomically.

docs/training.md describes the columns.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet

from flowtracer.storage import atomic_write, remove_partials
from flowtracer.watching.rollout import WatchedRollout
from flowtracer.watching.tables import readable

FOLDER = "rollouts"
PAGE_FILE = "rollouts.html"
VERSION = 1
VERSION_KEY = b"flowtracer.rollouts"  # in the metadata of the file's schema
NAME = re.compile(r"step-(\d+)\.parquet")

# Lists have one entry for each token of the response.
SCHEMA = pyarrow.schema(
    [
        pyarrow.field("step", pyarrow.int32(), nullable=False),
        pyarrow.field("row", pyarrow.int32(), nullable=False),
        pyarrow.field("prompt", pyarrow.string(), nullable=False),
        pyarrow.field("token_ids", pyarrow.list_(pyarrow.int32()), nullable=False),
        pyarrow.field("tokens", pyarrow.list_(pyarrow.string()), nullable=False),
        pyarrow.field("candidate", pyarrow.list_(pyarrow.bool_()), nullable=False),
        pyarrow.field("weight", pyarrow.list_(pyarrow.float32())),
        pyarrow.field("score", pyarrow.list_(pyarrow.float32())),
        pyarrow.field("advantages", pyarrow.list_(pyarrow.float32()), nullable=False),
        pyarrow.field("advantage", pyarrow.float32()),
        pyarrow.field("reward", pyarrow.float64()),
        pyarrow.field("rewards", pyarrow.map_(pyarrow.string(), pyarrow.float64()), nullable=False),
        pyarrow.field("answer", pyarrow.list_(pyarrow.float32())),
        pyarrow.field("answered", pyarrow.bool_()),
    ],
    metadata={VERSION_KEY: str(VERSION).encode()},
)
# Columns that have other names in `WatchedRollout`.
FIELDS = {"weight": "weights", "score": "scores", "candidate": "candidates"}


def part_path(folder: Path, step: int) -> Path:
    """Where a run's rollouts of a step are; folder: the run's."""
    return folder / FOLDER / f"step-{step:06d}.parquet"


def logged_steps(folder: Path) -> list[int]:
    """Steps of which a run's folder has rollouts, in rising order."""
    names = (NAME.fullmatch(path.name) for path in (folder / FOLDER).glob("step-*.parquet"))
    return sorted(int(name[1]) for name in names if name)


def write_part(folder: Path, step: int, rollouts: Sequence[WatchedRollout]) -> Path:
    """Write the rollouts of a step into a run's folder, atomically."""
    path = part_path(folder, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        field.name: [getattr(rollout, FIELDS.get(field.name, field.name)) for rollout in rollouts]
        for field in SCHEMA
    }
    columns["rewards"] = [list(rollout.rewards.items()) for rollout in rollouts]
    table = pyarrow.Table.from_pydict(columns, SCHEMA)
    with atomic_write(path) as partial:
        parquet.write_table(table, partial, compression="zstd")
    return path


def remove_after(folder: Path, step: int) -> None:
    """Remove a run's rollouts of later steps: a run that resumes at `step` writes them again."""
    for later in logged_steps(folder):
        if later > step:
            part_path(folder, later).unlink()
    if (folder / FOLDER).is_dir():
        remove_partials(folder / FOLDER)


def read_part(path: Path) -> list[WatchedRollout]:
    """The rollouts of a file. Raises ValueError for another version or a damaged file."""
    with readable(path):
        table = parquet.read_table(path)
    version = (table.schema.metadata or {}).get(VERSION_KEY)
    if version != str(VERSION).encode():
        named = "none" if version is None else repr(version.decode(errors="replace"))
        raise ValueError(
            f"{path}: has schema version {named}, this flowtracer reads {VERSION}; use the flowtracer that "
            "wrote it"
        )
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise ValueError(f"{path}: is damaged: column {missing[0]!r} is missing")
    return [_rollout(row) for row in table.select(SCHEMA.names).to_pylist()]


def _rollout(row: dict[str, Any]) -> WatchedRollout:
    if not isinstance(row["rewards"], list):
        raise TypeError(f"rewards is {row['rewards']!r:.40}")
    row["rewards"] = dict(row["rewards"])
    return WatchedRollout(**{FIELDS.get(name, name): value for name, value in row.items()})

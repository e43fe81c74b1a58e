"""Which checkpoint of a folder is the newest that was written to its end."""

import json
import re
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from flowtracer.models import ModelError
from flowtracer.storage import MANIFEST_FILE, damaged_file

_NUMBER = re.compile(r"[0-9]+$")
LARGEST_HEADER = 100_000_000  # bytes, as the safetensors package takes them
SETTLED_SECONDS = 1.0  # for which nothing in a folder changes, our choice
Look = tuple[tuple[str, int, int], ...]  # path, size and time of each file


@dataclass(frozen=True)
class Checkpoint:
    """A folder of a model. step: the number that its name ends in."""

    folder: Path
    step: int


def step_of(folder: Path) -> int | None:
    """The number that a folder's name ends in, such as 60 of `checkpoint-60` or `global_step_60`."""
    match = _NUMBER.search(folder.name)
    return int(match[0]) if match else None


def find_checkpoints(folder: Path) -> list[Checkpoint]:
    """Folders inside of a folder whose name ends in a number, the highest first."""
    if not folder.is_dir():
        return []
    checkpoints = [
        Checkpoint(path, step)
        for path in folder.iterdir()
        if (step := step_of(path)) is not None and path.is_dir() and not path.name.startswith(".")
    ]
    return sorted(checkpoints, key=lambda checkpoint: checkpoint.step, reverse=True)


class Watcher:
    """Looks for a newer checkpoint; one that is still being written is left alone.

    A folder with `flowtracer train`'s manifest, which is written last, is complete if all files are what
    it says. Any other is complete if the weights are as long as their own headers say, every file of
    an index is there, and nothing in the folder changed between two looks.
    """

    def __init__(self, folder: Path, *, every: int = 1) -> None:
        """every: steps that a checkpoint must be ahead of the one in use."""
        if every < 1:
            raise ValueError(f"refresh every {every} steps is not possible; use 1 or more")
        self.folder, self.every = Path(folder), every
        self._looks: dict[Path, Look] = {}
        self._skipped: dict[Path, Look] = {}  # damaged or refused, as they were then

    def newer(self, step: int | None) -> Checkpoint | None:
        """The newest complete checkpoint that is `every` steps ahead; None if there is none.

        step: of the checkpoint in use; None if none was read yet, which counts as step 0.
        """
        looks: dict[Path, Look] = {}
        newest = None
        for checkpoint in find_checkpoints(self.folder):
            folder = checkpoint.folder
            if checkpoint.step < (step or 0) + self.every:
                break
            if folder in self._skipped and self._skipped[folder] == _look(folder):
                continue
            if self._complete(folder, looks):
                newest = checkpoint
                break
        self._looks = looks
        return newest

    def skip(self, checkpoint: Checkpoint) -> None:
        """Let `newer` leave a checkpoint alone until one of its files changes: reading it takes time."""
        self._skipped[checkpoint.folder] = _look(checkpoint.folder)

    def find(self, name: str) -> Checkpoint:
        """The checkpoint of this name. Raises ModelError if there is none, or if it is not complete."""
        for checkpoint in find_checkpoints(self.folder):
            if checkpoint.folder.name == name:
                if not self._settled(checkpoint):
                    raise ModelError(f"checkpoint {name} is still being written, or damaged")
                return checkpoint
        raise ModelError(f"there is no checkpoint {name!r} in the folder of checkpoints")

    def newest(self, step: int | None) -> Checkpoint:
        """The newest complete checkpoint, however little it is ahead. Raises ModelError if there is none."""
        for checkpoint in find_checkpoints(self.folder):
            if checkpoint.step <= (step or 0):
                break
            if self._settled(checkpoint):
                return checkpoint
        raise ModelError(f"there is no complete checkpoint after step {step or 0}")

    def _settled(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint is complete, by two looks if need be."""
        for wait in (0.0, SETTLED_SECONDS):
            time.sleep(wait)
            looks: dict[Path, Look] = {}
            if self._complete(checkpoint.folder, looks):
                return True
            self._looks |= looks
        return False

    def _complete(self, folder: Path, looks: dict[Path, Look]) -> bool:
        look = _look(folder)
        try:
            if (folder / MANIFEST_FILE).exists():
                complete = damaged_file(folder) is None
                if not complete:
                    self._skipped[folder] = look
                return complete
            if not weights_complete(folder):
                return False
        except OSError:  # it is being removed, say
            return False
        looks[folder] = look
        return self._looks.get(folder) == look


def _look(folder: Path) -> Look:
    """What changes while a folder is written; () if it cannot be read."""
    try:
        return tuple(
            (str(path), stat.st_size, stat.st_mtime_ns)
            for path in sorted(folder.rglob("*"))
            for stat in (path.stat(),)
        )
    except OSError:
        return ()


def weights_complete(folder: Path) -> bool:
    """Whether a folder has a config and safetensors files that are as long as their headers say."""
    names = (SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME)
    weights = next((folder / name for name in names if (folder / name).is_file()), None)
    if weights is None or not (folder / "config.json").is_file():
        return False
    try:
        if weights.suffix == ".json":
            parts = set(json.loads(weights.read_bytes())["weight_map"].values())
            return bool(parts) and all(_full_length(folder / part) for part in parts)
        return _full_length(weights)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _full_length(path: Path) -> bool:
    """Whether a safetensors file has all bytes that its header names."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else LARGEST_HEADER
        if length >= min(size, LARGEST_HEADER):
            return False
        header: dict[str, Any] = json.loads(file.read(length))
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    return bool(ends) and size == 8 + length + max(ends)

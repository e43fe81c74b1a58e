"""Folders of results: a new one every time, unless the user says which; for one process at a time."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from flowtracer.storage import LOCK_FILE, lock


@contextmanager
def new_folder(default: Path) -> Iterator[Path]:
    """The first of `default`, `default-2`, `default-3`, ... that is missing or empty, and not in use."""
    with ExitStack() as claims:
        for number in count(1):
            folder = default if number == 1 else default.with_name(f"{default.name}-{number}")
            if not _is_free(folder):
                continue
            with suppress(ValueError):  # another process took it just now
                claims.enter_context(_claimed(folder))
                if _is_free(folder):  # nor was it filled just before
                    break
        yield folder


def existing_folder(folder: Path) -> Path:
    """The folder, created if it is missing. Raises ValueError for a file in its place."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; --out takes a folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def chosen_folder(folder: Path, names: Collection[str], *, overwrite: bool) -> Iterator[Path]:
    """The folder that the user named, created if it is missing.

    names: files that would be lost if they were there. Raises ValueError if one is, without `overwrite`,
    and if another process writes into the folder.
    """
    with _claimed(existing_folder(folder)):
        there = next((name for name in names if (folder / name).exists()), None)
        if there is not None and not overwrite:
            raise ValueError(
                f"{folder} holds a {there} already; choose another --out or pass --overwrite to replace it"
            )
        yield folder


@contextmanager
def _claimed(folder: Path) -> Iterator[Path]:
    """The folder for this process only, which leaves no file of its own in it."""
    with lock(folder, "another command"):
        try:
            yield folder
        finally:
            with suppress(OSError):  # Windows keeps a file that is open
                (folder / LOCK_FILE).unlink()


def _is_free(folder: Path) -> bool:
    """Whether there is no such folder, or nothing in it but what a kill left of a claim."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(path.name == LOCK_FILE for path in folder.iterdir())

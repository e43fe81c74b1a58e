"""Folders of results: a new one every time, unless the user says which."""

from collections.abc import Collection
from pathlib import Path


def new_folder(default: Path) -> Path:
    """Make the first of `default`, `default-2`, `default-3`, ... that is not there, or empty."""
    number = 1
    while True:
        folder = default if number == 1 else default.with_name(f"{default.name}-{number}")
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        number += 1


def chosen_folder(folder: Path, names: Collection[str], *, overwrite: bool) -> Path:
    """Make the folder that the user named.

    names: files that would be lost if they were there. Raises ValueError if one is, without `overwrite`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = next((name for name in names if (folder / name).exists()), None)
    if there is not None and not overwrite:
        raise ValueError(
            f"{folder} holds a {there} already; choose another --out or pass --overwrite to replace it"
        )
    return folder

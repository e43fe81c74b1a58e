"""Files that survive a kill: written whole or not at all, rows of JSON Lines, locked folders."""

import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout


def read_rows(path: Path, fields: Collection[str] = ()) -> list[dict[str, Any]]:
    """Whole rows of a file that have all the fields; none if there is no file."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and set(fields) <= row.keys():
            rows.append(row)
    return rows


def keep_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write these rows only, the file whole or not at all: a line that a kill cut short goes."""
    with atomic_write(path) as partial:
        partial.write_text("".join(map(line_of, rows)), encoding="utf-8")


def line_of(row: dict[str, Any]) -> str:
    """A row as a line of JSON."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def claim(path: Path, settings: dict[str, Any], *, what: str, free: Collection[str] = ()) -> None:
    """Write settings down, or see that they are those that the folder holds.

    free: settings that may change. Raises ValueError naming the first that did.
    """
    mine = json.loads(json.dumps(settings))
    if path.exists():
        theirs = json.loads(path.read_text())
        for name in mine:
            if name not in free and mine[name] != theirs.get(name):
                raise ValueError(
                    f"{path.parent} holds {what} with another {name} ({theirs.get(name)!r}); "
                    "choose another --out"
                )
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(mine, indent=1) + "\n")


@contextmanager
def lock(folder: Path, what: str) -> Iterator[None]:
    """The folder, made if it is missing, for this process only. Raises ValueError if it is in use."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise ValueError(f"{folder} is in use by {what}; choose another --out") from None


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A file to write beside `path`; it takes the place of `path` if the block ends well."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)  # mkstemp keeps others out, a result should not
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

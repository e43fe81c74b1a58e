"""Files that survive a kill: atomic writes, rows of JSON Lines, locked folders."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from flowtracer.records import Kind, check_kind, parse_record, read_lines

Key = TypeVar("Key", bound=Hashable)
Json = TypeVar("Json", dict[str, Any], list[Any])

# Half a character, such as of a file's odd name, becomes the escape that JSON has for it.
TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
PARTIAL = ".partial"  # end of the name of a file that is being written
MANIFEST_FILE = "manifest.json"  # size and hash of every other file of a folder, written last
LOCK_FILE = ".lock"  # in a folder that a process has for itself
_open_partials: set[Path] = set()


def read_rows(
    path: Path, fields: Collection[str] | Mapping[str, Kind] = ()
) -> list[dict[str, Any]]:
    """Complete rows of a file that have all the fields, or none if there is no file.

    fields: their names, or what kind each is of. Raises ValueError for a damaged line, but for a last one
    that a kill cut short.
    """
    if not path.exists():
        return []
    rows = []
    for number, _, line in read_lines(path):
        try:
            row = parse_record(line)
            if set(fields) <= row.keys():
                if isinstance(fields, Mapping):
                    check_kind(row, dict(fields), "the row")
                rows.append(row)
        except ValueError as error:
            if not line.endswith(b"\n"):
                continue
            raise ValueError(
                f"{path}, line {number}: {error}; delete the line and run the command again"
            ) from None
    return rows


@contextmanager
def append_rows(
    path: Path, rows: Iterable[dict[str, Any]]
) -> Iterator[Callable[[Iterable[dict[str, Any]]], None]]:
    """Write the rows of an earlier run again, then yield a function that appends more and flushes.

    A line that a kill cut short is gone afterwards.
    """
    write_rows(path, rows)
    with path.open("a", **TEXT) as file:

        def append(more: Iterable[dict[str, Any]]) -> None:
            file.writelines(map(_line, more))
            file.flush()

        yield append


def resume_rows(
    path: Path,
    batches: Sequence[Sequence[Key]],
    make: Callable[[int, Sequence[Key]], Iterable[dict[str, Any]]],
    *,
    key: Callable[[dict[str, Any]], Key],
    fields: Collection[str] | Mapping[str, Kind],
    progress: Callable[[int, int], None],
) -> dict[Key, dict[str, Any]]:
    """The rows of a file by their key; those of missing batches are computed and appended.

    make: from the number of a batch and its keys to all rows of the batch; called only if one of them is
    missing. key: of a row. fields: see `read_rows`. progress: how many rows are there, of how many.
    """
    rows = {key(row): row for row in read_rows(path, fields)}
    total = sum(map(len, batches))
    done = sum(item in rows for batch in batches for item in batch)
    progress(done, total)
    with append_rows(path, list(rows.values())) as append:
        for number, batch in enumerate(batches):
            if all(item in rows for item in batch):
                continue
            new = {key(row): row for row in make(number, batch) if key(row) not in rows}
            append(new.values())
            rows |= new
            done += len(new)
            progress(done, total)
    return rows


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write these rows and no others, atomically."""
    with atomic_write(path) as partial, partial.open("w", **TEXT) as file:
        file.writelines(map(_line, rows))


def read_json(path: Path, kind: type[Json]) -> Json:
    """The value of a JSON file that this package wrote. Raises ValueError naming a damaged file."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise ValueError(
            f"{path}: is damaged, it is not a JSON {'object' if kind is dict else 'list'}; restore it, "
            "or delete its folder to start again"
        )
    return value


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically; functions by their names."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(value, indent=1, default=_name) + "\n", encoding="utf-8")


def check_settings(
    path: Path,
    settings: dict[str, Any],
    *,
    what: str,
    free: Collection[str] = (),
    option: str = "--out",
) -> None:
    """Write the settings down, or check that they are those that the folder of `path` holds.

    what: what the folder holds, for the message. free: top-level settings that may change. option:
    what to change for another folder.

    Raises ValueError naming what differs.
    """
    settings = json.loads(json.dumps(settings, default=_name))
    if path.exists():
        earlier = read_json(path, dict)
        old, new = (
            _flat({name: value for name, value in version.items() if name not in free})
            for version in (earlier, settings)
        )
        changed = [
            f"{name} was {old.get(name)!r}, is {new.get(name)!r}"
            for name in old | new  # also one that is no longer set
            if new.get(name) != old.get(name)
        ]
        if changed:
            raise ValueError(
                f"{path.parent} holds {what} with other settings ({'; '.join(changed[:3])}); "
                f"choose another {option}"
            )
    write_json(path, settings)


@contextmanager
def lock(folder: Path, what: str, *, option: str = "--out") -> Iterator[None]:
    """The folder, created if it is missing, for this process only. Raises ValueError if it is in use."""
    from filelock import FileLock, Timeout  # here: --help locks nothing and need not wait for it

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK_FILE, timeout=0):
            remove_partials(folder)
            yield
    except Timeout:
        raise ValueError(f"{folder} is in use by {what}; choose another {option}") from None


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A file to write beside `path`; it takes the place of `path` if the block ends well."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
    os.close(handle)
    partial = Path(name)
    _open_partials.add(partial)
    try:
        yield partial
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)  # mkstemp makes it private, a result should not be
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
        _open_partials.discard(partial)


def remove_open_partials() -> None:
    """Remove what this process has begun to write, just before it ends."""
    for partial in list(_open_partials):
        partial.unlink(missing_ok=True)


def remove_partials(folder: Path, *, age: float = 0.0) -> None:
    """Remove files that a killed process began to write and that are at least `age` seconds old."""
    for partial in folder.glob(f".*{PARTIAL}"):
        with suppress(FileNotFoundError):  # another process finished it
            if time.time() - partial.stat().st_mtime >= age:
                partial.unlink()


def write_manifest(folder: Path, files: Iterable[Path]) -> None:
    """Write down size and hash of these files of a folder."""
    entries = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(files)
        if path.name != MANIFEST_FILE
    }
    write_json(folder / MANIFEST_FILE, {"files": entries})


def damaged_file(folder: Path) -> Path | None:
    """The first file that is missing or not what the manifest says; the manifest if it is damaged."""
    try:
        files = read_json(folder / MANIFEST_FILE, dict)["files"]
        for name, entry in files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != entry["bytes"]:
                return path
        for name, entry in files.items():
            if sha256(folder / name) != entry["sha256"]:
                return folder / name
    except (ValueError, KeyError, TypeError, AttributeError):
        return folder / MANIFEST_FILE
    return None


def is_complete(folder: Path) -> bool:
    """Whether the folder has a manifest and every file is what it says."""
    return (folder / MANIFEST_FILE).exists() and damaged_file(folder) is None


def sha256(path: Path) -> str:
    """SHA-256 of a file, which is read as a stream, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _name(value: object) -> str:
    """A function by its name, as its address differs between processes; anything else as text."""
    return getattr(value, "__qualname__", None) or str(value)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one dictionary with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        nested = isinstance(value, dict) and value
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat

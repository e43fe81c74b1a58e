"""Fields of a request's JSON: each is checked where it is read, and refused in one sentence."""

import re
from codecs import BOM_UTF8
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from flowtracer.records import parse_record

DEEPEST = 32  # nested brackets of a body; our choice, a session has 8
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

Request = Mapping[str, Any]


class Refused(ValueError):
    """A request that cannot be served; the message is one sentence, `status` HTTP's.

    retry_after: seconds after which another try may be served, None where no other is.
    """

    def __init__(self, message: str, status: int = 400, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises Refused, never RecursionError."""
    if deepest(body) > DEEPEST:
        raise Refused(f"the body nests brackets more than {DEEPEST} deep; nothing here needs that")
    try:
        # Some clients begin UTF-8 with a byte order mark.
        data = parse_record(body.removeprefix(BOM_UTF8), finite=True)
    except ValueError as error:
        said = str(error).partition(";")[0][:100]
        said = said.replace("is not a JSON object", "must be a JSON object")
        raise Refused(f"the body {said}") from None
    return data


def deepest(body: bytes) -> int:
    """How deep brackets are nested outside of strings; counting ends beyond `DEEPEST`."""
    depth = most = 0
    for sign in _STRING.sub(b"", body).translate(None, _NO_BRACKETS):
        depth += 1 if sign in b"[{" else -1
        most = max(most, depth)
        if most > DEEPEST:
            break
    return most


def check_names(data: Request, known: Collection[str]) -> None:
    """Raise Refused for a field that nobody reads."""
    unknown = [name for name in data if name not in known]
    if unknown:
        raise Refused(f"field {unknown[0][:40]!r} is unknown; use {', '.join(known)}")


def string(data: Request, name: str, default: str | None = None, *, most: int = 1 << 20) -> str:
    """A text of at most so many characters."""
    value = data.get(name, default)
    if not isinstance(value, str):
        raise Refused(f"{name} must be a text")
    if len(value) > most:
        raise Refused(f"{name} has {len(value):,} characters; at most {most:,} are taken", 413)
    return value


def choice(data: Request, name: str, choices: Collection[str], default: str) -> str:
    """One of some words."""
    value = data.get(name, default)
    if not isinstance(value, str) or value not in choices:
        raise Refused(f"{name} is {str(value)[:60]!r}; use {', '.join(choices)}")
    return value


def integer(data: Request, name: str, default: int | None = None, *, least: int, most: int) -> int:
    """A whole number between two others, both included."""
    value = data.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Refused(f"{name} must be a whole number from {least:,} to {most:,}")
    return value


def number(data: Request, name: str, default: float, *, least: float, most: float) -> float:
    """A finite number between two others, both included."""
    value = data.get(name, default)
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits or not least <= value <= most:  # no NaN is between two numbers
        raise Refused(f"{name} must be a number from {least:g} to {most:g}")
    return float(value)


def flag(data: Request, name: str, default: bool | None) -> bool | None:
    """True or false, or the default where it is null or not there."""
    value = data.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refused(f"{name} must be true or false")
    return default if value is None else value


def items(data: Request, name: str, *, most: int) -> Sequence[Any]:
    """A list of at most so many entries."""
    value = data.get(name)
    if not isinstance(value, list):
        raise Refused(f"{name} must be a list")
    if len(value) > most:
        raise Refused(f"{name} has {len(value):,} entries; at most {most:,} are taken", 413)
    return value


def numbers_below(data: Request, name: str, count: int, *, most: int, of: str) -> list[int]:
    """A list of whole numbers from 0 to count - 1. of: what they number, for the message."""
    values = items(data, name, most=most)
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
            raise Refused(f"{name}: {str(value)[:40]} is not {of} (0 to {count - 1:,})")
    return list(values)


def one_line(text: object) -> str:
    """An error's text as one line that can be shown."""
    return " ".join(str(text).split())[:500].encode("utf-8", "replace").decode()

"""Records of JSON Lines files: one strict reader, and the names that their fields go by."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import UnionType
from typing import Any

PROMPT_FIELDS = ("prompt", "messages", "question", "problem")
RESPONSE_FIELDS = ("response", "completion", "output")
REFERENCE_FIELDS = ("answer", "reference", "gold", "ground_truth")
LONGEST_LINE = 1 << 26  # bytes, our choice: more than any text that a model reads

# What a value of JSON has to be: a type (an int is a float, too), one of several, a list whose items are
# all of one kind, or an object with these fields; one with "?" may be missing, ANY stands for all.
Kind = type | UnionType | list["Kind"] | dict[str, "Kind"]
ANY = "*"
LARGEST = 1 << 63  # of whole numbers, as in arrays


def first_field(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The value of the first of the fields that has one; None if none has."""
    return next((record[name] for name in names if record.get(name) is not None), None)


def parse_record(
    line: bytes, *, longest: int = LONGEST_LINE, finite: bool = False
) -> dict[str, Any]:
    """The JSON object in a line. Raises ValueError with what is wrong, such as "is not UTF-8 text".

    finite: refuse NaN and infinite numbers, also those that are written out.
    """
    if len(line) > longest:
        raise ValueError(f"is longer than {longest >> 20} MiB")
    try:
        strict: dict[str, Any] = (
            {"parse_constant": _no_number, "parse_float": _finite} if finite else {}
        )
        record = json.loads(line.decode("utf-8"), **strict)
        if b"\\u" in line:
            json.dumps(record, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    except UnicodeEncodeError:
        raise ValueError('holds half a character, such as "\\ud83d"') from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError("is not a JSON object")
    return record


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _finite(written: str) -> float:
    value = float(written)
    if not math.isfinite(value):
        raise ValueError(f"{written[:20]} is too large a number")
    return value


def check_kind(value: Any, kind: Kind, name: str) -> None:
    """Raise ValueError, which names the field, if something inside a value is of another kind."""
    if isinstance(kind, dict) and isinstance(value, dict):
        for field, inner in kind.items():
            key = field.removesuffix("?")
            if field == ANY:
                check_kind(list(value.values()), [inner], name)
            elif key in value:
                check_kind(value[key], inner, key)
            elif key == field:
                raise ValueError(f"{name} has no {key}")
    elif isinstance(kind, list) and isinstance(value, list):
        for item in value:
            check_kind(item, kind[0], name)
    elif isinstance(kind, list | dict) or not _is_a(value, kind):
        raise ValueError(f"{name} is {value!r:.60}, which is of another type or too large")


def _is_a(value: Any, kind: type | UnionType) -> bool:
    """Whether a plain value is of a type; an int is a float, too, but no bool is an int."""
    types = getattr(kind, "__args__", (kind,))
    if type(value) is int:
        return abs(value) < LARGEST and (int in types or float in types)
    return type(value) in types


def read_lines(
    path: Path, offset: int = 0, *, longest: int = LONGEST_LINE
) -> Iterator[tuple[int, int, bytes]]:
    """Lines of a file that are not blank, unparsed: (line number, byte where it begins, line).

    offset: byte to begin at; line numbers count from there. Of a line beyond `longest` bytes only
    the beginning is kept, which `parse_record` refuses. Raises ValueError for a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            for number in count(1):
                line = rest = file.readline(longest + 1)
                if not line:
                    return
                if line.strip():
                    yield number, offset, line
                offset += len(line)
                while len(rest) > longest and not rest.endswith(b"\n"):
                    rest = file.readline(longest + 1)
                    offset += len(rest)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error


def read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Records of a JSON Lines file, each with "file, line n" for messages; blank lines do not count.

    Raises ValueError for a file that cannot be read or a line that is not a JSON object.
    """
    for number, _, line in read_lines(path):
        where = f"{path}, line {number}"
        try:
            yield where, parse_record(line)
        except ValueError as error:
            raise ValueError(f"{where}: {error}; repair or delete the line") from None

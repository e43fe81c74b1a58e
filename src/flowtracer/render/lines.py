"""Running text in lines of a fixed number of characters, long texts without their middle."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowtracer.render.visible import one_line

if TYPE_CHECKING:
    from flowtracer.tracing.data import Unit


@dataclass(frozen=True)
class Piece:
    """A unit, or the part of it that is in one line. tokens: first and last, inclusive."""

    first: int
    last: int
    column: int
    text: str


@dataclass(frozen=True)
class Line:
    """Pieces side by side; or, where `left_out` is not 0, the lines that a long text is without.

    tokens: of all its pieces or of the lines left out.
    """

    pieces: tuple[Piece, ...]
    tokens: tuple[int, ...]
    left_out: int = 0


def lay_out(units: Sequence["Unit"], columns: int) -> list[Line]:
    """Units in lines of at most `columns` characters; a line break in the text ends its line.

    Words stay together where they fit; the blank that a line begins with after that is not shown.
    """
    lines: list[list[Piece]] = [[]]
    broken = False  # whether the line begins where the text has no line break
    for unit in units:
        text = one_line(unit.text)
        if _end(lines[-1]) + len(text) > columns and lines[-1]:
            word = _word(lines[-1]) if not text.startswith(" ") else len(lines[-1])
            rest = lines[-1][word:]
            lines[-1:] = [lines[-1][:word], []]
            for piece in rest:
                _add(lines, piece.first, piece.last, piece.text, columns, blank=False)
            broken = True
        _add(lines, unit.first, unit.last, text, columns, blank=not broken)
        if "\n" in unit.text:
            lines.append([])
            broken = False
    return [Line(tuple(line), tuple(_tokens(line))) for line in lines if line]


def _add(
    lines: list[list[Piece]], first: int, last: int, text: str, columns: int, *, blank: bool
) -> None:
    """Append to the last line; what is longer than a line continues in the next."""
    if not lines[-1] and not blank and len(text) > 1:
        text = text.removeprefix(" ")
    for start in range(0, max(1, len(text)), columns):
        part = text[start : start + columns]
        if _end(lines[-1]) + len(part) > columns:
            lines.append([])
        lines[-1].append(Piece(first, last, _end(lines[-1]), part))


def _end(line: Sequence[Piece]) -> int:
    return line[-1].column + len(line[-1].text) if line else 0


def _word(line: Sequence[Piece]) -> int:
    """Index of the piece with which the line's last word begins; the line's length if it is all one."""
    starts = [n for n, piece in enumerate(line) if n and piece.text.startswith(" ")]
    return starts[-1] if starts else len(line)


def shorten(lines: Sequence[Line], most: int) -> list[Line]:
    """At most `most` lines: those in the middle become one that says how many they were."""
    if len(lines) <= most:
        return list(lines)
    head = (most - 1) // 2
    tail = most - 1 - head
    middle = lines[head : len(lines) - tail]
    tokens = tuple(token for line in middle for token in line.tokens)
    return [*lines[:head], Line((), tokens, left_out=len(middle)), *lines[len(lines) - tail :]]


def _tokens(line: Sequence[Piece]) -> Iterator[int]:
    for piece in line:
        yield from range(piece.first, piece.last + 1)

"""A study's table in the terminal: its first columns, as many as fit; all of them are in `table.md`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP = 2  # blanks between columns
LEAST_NAME = 12  # characters of the first column before columns are left out
INTERVAL = re.compile(r"\[[^\]]*\]$")


def print_report(path: Path, console: Console | None = None) -> None:
    """Print a study's `table.md`, no line wider than the console."""
    console = console or Console(highlight=False)
    for block in _blocks(path.read_text(encoding="utf-8").splitlines()):
        if block[0].startswith("|"):
            header, _, *rows = [_cells(line) for line in block]
            table, left_out = fitted(header, rows, console.width)
            console.print(table, highlight=False)
            if left_out:
                note = f"Left out here, in {path.name}: {'; '.join(left_out)}."
                console.print(Text(note, style="dim"))
        else:
            text = _plain(" ".join(block))
            if not text:  # a picture
                continue
            heading = block[0].startswith("#")
            console.print(Text(text.lstrip("# "), style="bold" if heading else ""))
        console.print()


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> tuple[Table, list[str]]:
    """A table at most `width` wide, and the headings of the columns that it is without.

    Columns are taken in their order, which is that of their weight, as long as every cell keeps to one
    line; headings wrap at blanks, and names in the first column anywhere.
    """
    needed = [
        max(
            [len(word) for word in header[column].split()]
            + [len(row[column]) for row in rows]
            + [1]
        )
        for column in range(len(header))
    ]
    named = min(needed[0], max(LEAST_NAME, width // 3))
    count, total = 1, named
    while count < len(header) and total + GAP + needed[count] <= width:
        total += GAP + needed[count]
        count += 1
    count = min(len(header), max(count, 2))
    table = Table(box=None, padding=(0, GAP // 2), pad_edge=False, header_style="bold underline")
    spare = width - sum(GAP + of for of in needed[1:count])
    table.add_column(Text(header[0]), overflow="fold", max_width=max(1, min(needed[0], spare)))
    for heading in header[1:count]:
        table.add_column(Text(heading), overflow="fold")
    for row in rows:
        table.add_row(*map(_shown, row[:count]))
    return table, list(header[count:])


def _shown(cell: str) -> Text:
    """A cell, its interval in the background."""
    text = Text(cell)
    text.highlight_regex(INTERVAL, "dim")
    for word, style in (("better", "green"), ("worse", "red"), ("undecided", "dim")):
        if cell == word:
            text.stylize(style)
    return text


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Lines that belong together: a table, a paragraph, or a heading."""
    block: list[str] = []
    for line in [*lines, ""]:
        if block and (not line or line.startswith("|") != block[0].startswith("|")):
            yield block
            block = []
        if line:
            block.append(line)


def _cells(line: str) -> list[str]:
    """The cells of a line of a Markdown table, without its marks."""
    parts = re.split(r"(?<!\\)\|", line.strip())[1:-1]
    return [_plain(part) for part in parts]


def _plain(text: str) -> str:
    """Markdown as plain text; pictures are left out."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    return text.replace("`", "").replace("\\|", "|").strip()

"""Study output in the terminal: at most the width given, whatever the table."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from flowtracer.studies.terminal import fitted, print_report

RESULTS = Path(__file__).parents[2] / "results"
TABLES = sorted(RESULTS.rglob("table.md"))


def printed(path, width):
    out = StringIO()
    print_report(path, Console(file=out, width=width, force_terminal=False))
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120, 250])
@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.parent.name)
def test_no_line_is_wider_than_the_terminal(path, width):
    text = printed(path, width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "|---" not in text and "![" not in text and "`" not in text


def test_a_wide_terminal_shows_all_columns_and_a_narrow_one_says_what_it_leaves_out(tmp_path):
    path = tmp_path / "table.md"
    path.write_text(
        "### Heading\n\n| scorer | answer changed | drop, nats |\n|---|---|---|\n"
        "| `flow@layers=late` | 98.0 [95.0, 99.2] | 29.12 [27.06, 31.27] |\n\n![figure](figure.png)\n"
    )
    wide, narrow = printed(path, 100), printed(path, 40)
    assert "flow@layers=late  98.0 [95.0, 99.2]  29.12 [27.06, 31.27]" in wide
    assert "Left out" not in wide and "Heading" in wide and "figure" not in wide
    assert "98.0 [95.0, 99.2]" in narrow and "29.12" not in narrow
    assert "Left out here, in table.md: drop, nats." in narrow.replace("\n", " ")


@pytest.mark.parametrize("width", [1, 10, 24])
def test_a_very_narrow_terminal_folds(width):
    table, left_out = fitted(["rule", "a", "b"], [["x" * 60, "1.0 [0.5, 1.5]", "2"]], width)
    out = StringIO()
    Console(file=out, width=width, force_terminal=False).print(table)
    assert max(map(cell_len, out.getvalue().splitlines())) <= width and left_out == ["b"]


def test_marks_in_cells_are_text(tmp_path):
    path = tmp_path / "table.md"
    path.write_text("| token | count |\n|---|---|\n| `\\|` | 3 |\n| `[red]x[/red]` | 4 |\n")
    text = printed(path, 60)
    assert re.search(r"^\| +3\b", text, re.MULTILINE) and "[red]x[/red]" in text

"""A row for every solution, in fixed batches, going on where a kill came."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from flowtracer.rows import keep_rows, line_of, read_rows
from flowtracer.studies.solutions import Solution

ROWS_FILE = "rows.jsonl"
Make = Callable[[list[Solution]], Iterable[dict[str, Any]]]


def rows_of(
    solutions: Sequence[Solution],
    folder: Path,
    make: Make,
    *,
    batch: int,
    progress: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """The solutions' rows in order; `make` is asked for batches of which some row is missing.

    Every row has a field `problem`. Batches do not depend on what is there already.
    """
    path = folder / ROWS_FILE
    rows = {row["problem"]: row for row in read_rows(path, ("problem",))}
    keep_rows(path, rows.values())
    with path.open("a", encoding="utf-8") as file:
        for start in range(0, len(solutions), batch):
            progress(start, len(solutions))
            part = list(solutions[start : start + batch])
            if all(one.problem in rows for one in part):
                continue
            for row in make(part):
                if row["problem"] not in rows:
                    rows[row["problem"]] = row
                    file.write(line_of(row))
            file.flush()
    progress(len(solutions), len(solutions))
    return [rows[one.problem] for one in solutions]

"""A row for every solution, in fixed batches, going on where a kill came."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flowtracer.models import Loaded
from flowtracer.storage import append_rows, check_settings, lock, read_rows
from flowtracer.studies.provenance import note_making
from flowtracer.studies.solutions import (
    LEAST_BEFORE,
    Solution,
    SolutionSettings,
    collect_solutions,
)
from flowtracer.tasks import Task

ROWS_FILE = "rows.jsonl"
STUDY_FILE = "study.json"
Make = Callable[[list[Solution]], Iterable[dict[str, Any]]]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SolutionStudy:
    """A study of a model's own solutions, one at a time, by one measure."""

    solutions: SolutionSettings
    problems: int = 200
    measure: str = "flow"


def solutions_line(study: SolutionStudy, count: int) -> str:
    """Which solutions a study is about."""
    made = study.solutions
    return (
        f"{count} solutions of {made.task} (the first of split {made.split} that have an answer with at "
        f"least {LEAST_BEFORE} tokens in front of it; seed {made.seed})"
    )


def run_over_solutions(
    study: SolutionStudy,
    loaded: Loaded,
    task: Task,
    folder: Path,
    make: Callable[[Solution, Sequence[Solution]], dict[str, Any]],
    *,
    stage: str,
    solutions_folder: Path | None,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Do what is missing and return a row a solution.

    make: from a solution, and all of them, to its row. stage: what is being done, for the progress.

    Raises ValueError if the folder holds another study or is in use, or the task has too few problems.
    """
    with lock(folder, "another study"):
        # More problems may be asked for later: the first ones stay what they are.
        check_settings(folder / STUDY_FILE, asdict(study), what="a study", free=("problems",))
        solutions = collect_solutions(
            loaded,
            task,
            solutions_folder or folder / "solutions",
            settings=study.solutions,
            wanted=study.problems,
            progress=lambda done, of: progress("solving", done, of),
        )
        return rows_of(
            solutions,
            folder,
            lambda part: [make(one, solutions) for one in part],
            batch=1,
            progress=lambda done, of: progress(stage, done, of),
        )


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
    if any(one.problem not in rows for one in solutions):
        note_making(folder)
    with append_rows(path, list(rows.values())) as append:
        for start in range(0, len(solutions), batch):
            progress(start, len(solutions))
            part = list(solutions[start : start + batch])
            if all(one.problem in rows for one in part):
                continue
            new = {row["problem"]: row for row in make(part) if row["problem"] not in rows}
            rows |= new
            append(new.values())
    progress(len(solutions), len(solutions))
    return [rows[one.problem] for one in solutions]

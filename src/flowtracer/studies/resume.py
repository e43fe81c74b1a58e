"""One row for each solution, in fixed batches; a run that was killed continues where it stopped."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Required, TypedDict

from flowtracer.credit import structural_vocabulary
from flowtracer.models import Loaded
from flowtracer.records import Kind
from flowtracer.storage import check_settings, lock, read_rows, resume_rows
from flowtracer.studies.provenance import note_environment
from flowtracer.studies.solutions import (
    LEAST_BEFORE,
    Solution,
    SolutionSet,
    SolutionSettings,
    collect_solutions,
)
from flowtracer.tasks import Task

ROWS_FILE = "rows.jsonl"
STUDY_FILE = "study.json"
MakeRows = Callable[[SolutionSet, Sequence[Solution]], Iterable[dict[str, Any]]]
Progress = Callable[[str, int, int], None]


class StudyRun(TypedDict, total=False):
    """What every study takes beside its settings; see `run_over_solutions`."""

    solutions_folder: Path | None
    progress: Required[Progress]


@dataclass(frozen=True)
class SolutionStudy:
    """A study of a model's own solutions: whose they are, and how many."""

    solutions: SolutionSettings
    problems: int = 200

    def __post_init__(self) -> None:
        if self.problems < 1:
            raise ValueError("problems must be at least 1")


def solutions_line(study: SolutionStudy, count: int) -> str:
    """Which solutions a study is about."""
    settings = study.solutions
    return (
        f"{count} solutions of {settings.task} (the first of the {settings.split} split that have at least "
        f"{LEAST_BEFORE} tokens before the answer; seed {settings.seed})"
    )


def run_over_solutions(
    study: SolutionStudy,
    loaded: Loaded,
    task: Task,
    folder: Path,
    make_rows: MakeRows,
    *,
    fields: Mapping[str, Kind],
    stage: str,
    solutions_folder: Path | None = None,
    progress: Progress,
    batch: int = 1,
) -> list[dict[str, Any]]:
    """Do what is missing and return a row a solution, in the task's order.

    make_rows: from all solutions and a batch of them to the rows of that batch, each with a field
    `problem`. fields: of a row, see `read_rows`. stage: what is being done, for the progress.
    solutions_folder: where the model's solutions are or are put, to be shared by several studies;
    default: `solutions` in the folder. batch: solutions of one call; batches do not depend on what
    is there already, so that a study that was killed continues to the same rows.

    Raises ValueError if the folder holds another study or is in use, or the task has too few problems.
    """
    with lock(folder, "another study"):
        # More problems may be requested later; the first ones stay the same.
        check_settings(folder / STUDY_FILE, asdict(study), what="a study", free=("problems",))
        solutions = collect_solutions(
            loaded,
            task,
            solutions_folder or folder / "solutions",
            settings=study.solutions,
            count=study.problems,
            progress=lambda done, total: progress("solving", done, total),
        )
        structural = structural_vocabulary(loaded.tokenizer)
        within = SolutionSet(loaded.model, loaded.tokenizer, task, tuple(solutions), structural)
        by_problem = {solution.problem: solution for solution in solutions}
        problems = list(by_problem)
        path = folder / ROWS_FILE
        if by_problem.keys() - {row["problem"] for row in read_rows(path, fields)}:
            note_environment(folder)
        rows = resume_rows(
            path,
            [problems[start : start + batch] for start in range(0, len(problems), batch)],
            lambda number, keys: make_rows(within, [by_problem[key] for key in keys]),
            key=lambda row: row["problem"],
            fields=fields,
            progress=lambda done, total: progress(stage, done, total),
        )
        return [rows[problem] for problem in problems]

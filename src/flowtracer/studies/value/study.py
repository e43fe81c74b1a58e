"""`flowtracer study value`: which tokens changed the chance of being right, and which scores know it.

The value of a prefix is the part of K continuations of the model, graded by the task, that is right.
What a decision changed is its true credit (VinePPO). Every scorer is then compared with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from flowtracer.credit import structural_vocabulary
from flowtracer.credit.values import THRESHOLD, credit_of_values, decisions, unit_starts
from flowtracer.models import Loaded
from flowtracer.models.branching import Prefix
from flowtracer.models.continuation import read_text
from flowtracer.records import ANY, Kind
from flowtracer.regions import decode_text, decode_with_offsets
from flowtracer.storage import check_settings, lock, read_rows, resume_rows
from flowtracer.studies.provenance import note_environment
from flowtracer.studies.resume import ROWS_FILE, STUDY_FILE, Progress
from flowtracer.studies.sampling import Drawing, continuation_rewards, draw_responses
from flowtracer.studies.scorer_choices import parse_scorers, score_solution
from flowtracer.studies.solutions import Solution, SolutionSet, read_solution, tokenize_conversation
from flowtracer.tasks import Task

PLACES = ("decisions", "lines")
DIGITS = 6  # of the figures in a row
RESPONSE: dict[str, Kind] = {
    "response_ids": [int], "reward": float, "log_probability": [float], "points": [int],
    "credit": [float], "halves": [[float]], "scores": {ANY: [float]},
}  # fmt: skip
FIELDS: dict[str, Kind] = {
    "problem": int, "id": str, "prompt_ids": [int], "responses": [RESPONSE],
}  # fmt: skip


@dataclass(frozen=True)
class ValueStudy:
    """Whose values are estimated, where, and which scorers are compared with them."""

    model: str
    task: str
    scorers: tuple[str, ...]
    split: str = "test"
    problems: int = 100
    responses: int = 2  # a problem
    continuations: int = 64  # K of each value
    at: str = "decisions"
    threshold: float = THRESHOLD
    line_tokens: int = 1  # of a line or sentence at least
    temperature: float = 1.0
    max_new_tokens: int = 512
    seed: int = 0
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.at not in PLACES:
            raise ValueError(f"at is {self.at!r}; use {' or '.join(PLACES)}")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; it must be above 0 and at most 1")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"temperature is {self.temperature}; values need sampling, so it must be above 0"
            )
        if self.continuations < 2 or self.continuations % 2:
            raise ValueError(
                f"continuations is {self.continuations}; it must be even, for the two halves that show "
                "how well any score could do"
            )
        if min(self.problems, self.responses, self.max_new_tokens, self.line_tokens) < 1:
            raise ValueError(
                "problems, responses, max_new_tokens and line_tokens must be at least 1"
            )
        parse_scorers(self.scorers)


def run_value(
    study: ValueStudy, loaded: Loaded, task: Task, folder: Path, *, progress: Progress
) -> list[dict[str, Any]]:
    """Do what is missing and return a row a problem.

    A problem's responses and continuations depend on the settings and its number only, so that a study
    that was killed continues to the same rows.

    Raises ValueError if the folder holds another study or is in use, or the task has too few problems.
    """
    if study.problems > len(task.examples):
        raise ValueError(
            f"task {task.name}: has {len(task.examples)} problems; use fewer than {study.problems}"
        )
    with lock(folder, "another study"):
        # More problems may be requested later; the first ones stay the same.
        check_settings(folder / STUDY_FILE, asdict(study), what="a study", free=("problems",))
        parse_scorers(study.scorers, loaded.model)
        path = folder / ROWS_FILE
        problems = list(range(study.problems))
        if len(read_rows(path, FIELDS)) < study.problems:
            note_environment(folder)
        structural = structural_vocabulary(loaded.tokenizer)
        within = SolutionSet(loaded.model, loaded.tokenizer, task, (), structural)
        rows = resume_rows(
            path,
            [[problem] for problem in problems],
            lambda number, keys: _make_rows(study, loaded, within, keys),
            key=lambda row: row["problem"],
            fields=FIELDS,
            progress=lambda done, total: progress("estimating values", done, total),
        )
        return [rows[problem] for problem in problems]


def _make_rows(
    study: ValueStudy, loaded: Loaded, within: SolutionSet, problems: Sequence[int]
) -> Iterator[dict[str, Any]]:
    drawing = Drawing(study.max_new_tokens, study.temperature)
    for problem in problems:
        example = within.task.examples[problem]
        prompt_ids = tokenize_conversation(loaded.tokenizer, within.task.prompt(example)).ids
        seed = 1_000_003 * study.seed + 2 * problem
        (responses,) = draw_responses(
            loaded, within.task, [example], [prompt_ids], drawing, count=study.responses, seed=seed
        )
        solutions = [
            read_solution(loaded, within.task, problem, prompt_ids, response.ids)
            for response in responses
            if response.ids
        ]
        yield {
            "problem": problem,
            "id": example.id,
            "prompt_ids": list(prompt_ids),
            "responses": _measured(
                study, loaded, within, solutions, drawing, seed=1009 * (seed + 1)
            ),
        }


def _measured(
    study: ValueStudy,
    loaded: Loaded,
    within: SolutionSet,
    solutions: Sequence[Solution],
    drawing: Drawing,
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """Responses to one problem with their values, true credit and every scorer's scores.

    The continuations of all of them are drawn together: a step of few rows costs little less than one of
    many.
    """
    logs, points = [], []
    prefixes: list[Prefix] = []
    beginnings: list[Sequence[int]] = []
    for solution in solutions:
        prompt, ids = solution.prompt_ids, solution.response_ids
        text = read_text(loaded.model, [*prompt, *ids])
        logs.append(text.log_probability[len(prompt) - 1 :])
        points.append(_points(study, loaded, ids, logs[-1]))
        prefixes += [text.prefix(len(prompt) + point) for point in points[-1]]
        beginnings += [ids[:point] for point in points[-1]]
    if not solutions:
        return []
    rewards = continuation_rewards(
        loaded,
        within.task.behind(decode_text(loaded.tokenizer, list(solutions[0].prompt_ids))),
        within.task.examples[solutions[0].problem],
        prefixes,
        beginnings,
        drawing,
        copies=study.continuations,
        seed=seed,
    )
    measured = []
    parts = rewards.double().split([len(chosen) for chosen in points])
    for number, (solution, chosen, part) in enumerate(zip(solutions, points, parts, strict=True)):
        halves = part.view(len(chosen), 2, -1).mean(2)
        values = halves.mean(1)
        scores = score_solution(within, solution, parse_scorers(study.scorers), seed=seed + number)
        measured.append(
            {
                "response_ids": list(solution.response_ids),
                "reward": solution.reward,
                "answered": solution.before >= 0,
                "log_probability": _rounded(logs[number]),
                "points": chosen,
                "continuations": study.continuations,
                "value": _rounded(values),
                "credit": _rounded(credit_of_values(values, solution.reward)),
                "halves": [_rounded(credit_of_values(half, solution.reward)) for half in halves.T],
                "scores": {
                    name: _rounded(row[len(solution.prompt_ids) :]) for name, row in scores.items()
                },
            }
        )
    return measured


def _points(study: ValueStudy, loaded: Loaded, ids: Sequence[int], logs: torch.Tensor) -> list[int]:
    """In front of which tokens of a response values are estimated."""
    if study.at == "decisions":
        return decisions(logs, study.threshold)
    decoded = decode_with_offsets(loaded.tokenizer, list(ids))
    return unit_starts(decoded.text, decoded.offsets, least=study.line_tokens)


def _rounded(values: torch.Tensor) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]

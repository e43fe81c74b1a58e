"""`flowtracer study shape`: which tokens carry the flow, how much, and how regularly spaced hubs are.

Over a model's own solutions (figures 2 and 3 of the paper, "periodic hubs"). What could be chance is
compared with the same solutions with the throughput of each response shuffled among its tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from flowtracer.credit import Selection, select
from flowtracer.flow import find_hubs, select_backbone
from flowtracer.models import Loaded
from flowtracer.records import Kind
from flowtracer.regions import decode_text
from flowtracer.studies.resume import SolutionStudy, StudyRun, run_over_solutions
from flowtracer.studies.scorer_choices import parse_scorer, score_solution
from flowtracer.studies.solutions import Solution, SolutionSet
from flowtracer.tasks import Task

RATIOS = (0.01, 0.05, 0.2, 0.4)  # of tokens whose part of the flow is reported, our choice
SHUFFLES = 20  # of each response, our choice
FIELDS: dict[str, Kind] = {
    "problem": int, "texts": [str], "structural": [int], "high": [int], "top_flow": [float],
    "top_flow_with_answer": [float], "spacing": [int], "shuffled": [[int]],
}  # fmt: skip


@dataclass(frozen=True)
class ShapeStudy(SolutionStudy):
    """Whose solutions are studied, and by which scorer."""

    scorer: str = "flow"


def run_shape(
    study: ShapeStudy,
    loaded: Loaded,
    task: Task,
    folder: Path,
    **run: Unpack[StudyRun],
) -> list[dict[str, Any]]:
    """Do what is missing and return a row a problem, of the response's tokens in front of the answer."""
    make_rows = partial(_make_rows, study)
    return run_over_solutions(
        study, loaded, task, folder, make_rows, fields=FIELDS, stage="scoring", **run
    )


def _make_rows(
    study: ShapeStudy, within: SolutionSet, batch: Sequence[Solution]
) -> Iterator[dict[str, Any]]:
    choice = parse_scorer(study.scorer)
    for solution in batch:
        scores = score_solution(within, solution, [choice])[choice.name]
        start = len(solution.prompt_ids)
        with_answer = scores[start : start + solution.before + solution.answer_tokens]
        before = with_answer[: solution.before]
        ids = solution.response_ids[: solution.before]
        candidates = torch.ones(1, len(ids), dtype=torch.bool)
        yield {
            "problem": solution.problem,
            "texts": [decode_text(within.tokenizer, [token]) for token in ids],
            "structural": within.structural[torch.tensor(ids)].int().tolist(),
            "high": select_backbone(before[None], candidates)[0].int().tolist(),
            "top_flow": [round(ratio, 5) for ratio in flow_of_top(before)],
            "top_flow_with_answer": [round(ratio, 5) for ratio in flow_of_top(with_answer)],
            "spacing": spacing(before),
            "shuffled": _shuffled_spacing(before, solution.problem),
        }


def flow_of_top(scores: Tensor) -> list[float]:
    """Ratio of the total that the top 1, 5, 20 and 40% of tokens have; scores (T,)."""
    candidates = torch.ones(1, len(scores), dtype=torch.bool)
    total = scores.double().sum().clamp(min=1e-300)
    tops = (select(scores[None], candidates, Selection(ratio=ratio))[0] for ratio in RATIOS)
    return [float((scores * top).double().sum() / total) for top in tops]


def spacing(scores: Tensor) -> list[int]:
    """Tokens from each hub to the next; scores (T,)."""
    return list(find_hubs(scores, torch.ones_like(scores, dtype=torch.bool)).spacing)


def coefficient_of_variation(gaps: Sequence[int]) -> float | None:
    """Standard deviation over mean: 0 for hubs at regular intervals; None below two gaps."""
    if len(gaps) < 2:
        return None
    values = torch.tensor(gaps, dtype=torch.float64)
    return float(values.std(correction=0) / values.mean())


def _shuffled_spacing(scores: Tensor, seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        spacing(scores[torch.randperm(len(scores), generator=generator)]) for _ in range(SHUFFLES)
    ]

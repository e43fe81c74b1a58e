"""`flowtracer study shape`: which tokens carry the flow, how even it is, and how far hubs are apart.

Over a model's own solutions (figures 2 and 3 of the paper, "periodic hubs"). What could be chance is
held against the same solutions with the throughput of each response shuffled among its tokens.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowtracer.credit import Selection, select, structural_vocabulary
from flowtracer.flow import find_hubs, select_backbone
from flowtracer.models import Loaded
from flowtracer.regions import decode_text
from flowtracer.studies.measures import parse_measure, score_measures
from flowtracer.studies.resume import Progress, SolutionStudy, run_over_solutions
from flowtracer.studies.solutions import Solution, score_batches
from flowtracer.tasks import Task

SHARES = (0.01, 0.05, 0.2, 0.4)  # of tokens, whose part of the flow is told
SHUFFLES = 20  # of each response, our choice


def run_shape(
    study: SolutionStudy,
    loaded: Loaded,
    task: Task,
    folder: Path,
    *,
    solutions_folder: Path | None = None,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Do what is missing and return a row a problem, of the response's tokens in front of the answer."""
    structural = structural_vocabulary(loaded.tokenizer)
    return run_over_solutions(
        study,
        loaded,
        task,
        folder,
        lambda one, solutions: _row(study, loaded, task, one, structural),
        stage="looking",
        solutions_folder=solutions_folder,
        progress=progress,
    )


def _row(
    study: SolutionStudy, loaded: Loaded, task: Task, solution: Solution, structural: Tensor
) -> dict[str, Any]:
    messages = task.prompt(task.examples[solution.problem])
    batches = score_batches(
        loaded.tokenizer,
        solution,
        rule=task.answer_rule,
        messages=messages,
        structural=structural,
    )
    measure = parse_measure(study.measure)
    scores = score_measures(loaded.model, batches, [measure])[measure.name]
    start = len(solution.prompt_ids)
    response = scores[start : start + solution.before + solution.answer_tokens]
    ids = solution.response_ids[: solution.before]
    own = response[: solution.before]
    return {
        "problem": solution.problem,
        "texts": [decode_text(loaded.tokenizer, [one]) for one in ids],
        "structural": structural[torch.tensor(ids)].int().tolist(),
        "high": select_backbone(own[None], torch.ones_like(own, dtype=torch.bool)[None])[0]
        .int()
        .tolist(),
        "held": [round(one, 5) for one in held_by_top(own)],
        "held_with_answer": [round(one, 5) for one in held_by_top(response)],
        "spacing": spacing(own),
        "shuffled": _shuffled_spacing(own, solution.problem),
    }


def held_by_top(scores: Tensor) -> list[float]:
    """Share of the total that the top 1, 5, 20 and 40% of tokens hold; scores (T,)."""
    everyone = torch.ones(1, len(scores), dtype=torch.bool)
    total = scores.double().sum().clamp(min=1e-300)
    return [
        float(
            (scores * select(scores[None], everyone, Selection(ratio=one))[0]).double().sum()
            / total
        )
        for one in SHARES
    ]


def spacing(scores: Tensor) -> list[int]:
    """Tokens from each hub to the next; scores (T,)."""
    return list(find_hubs(scores, torch.ones_like(scores, dtype=torch.bool)).spacing)


def unevenness(gaps: Sequence[int]) -> float | None:
    """Standard deviation of the gaps over their mean: 0 for hubs like clockwork; None below two gaps."""
    if len(gaps) < 2:
        return None
    values = torch.tensor(gaps, dtype=torch.float64)
    return float(values.std(correction=0) / values.mean())


def _shuffled_spacing(scores: Tensor, seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        spacing(scores[torch.randperm(len(scores), generator=generator)]) for _ in range(SHUFFLES)
    ]

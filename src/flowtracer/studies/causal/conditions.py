"""One text of a causal study under all its conditions, each with other tokens knocked out."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from flowtracer.intervention import Prefilled, prefill
from flowtracer.intervention.knockout import Knockout
from flowtracer.studies.causal.settings import CausalStudy
from flowtracer.studies.scorer_choices import choose, parse_scorers
from flowtracer.studies.solutions import Solution, SolutionSet


@dataclass(frozen=True)
class Condition:
    """What took the tokens that are knocked out, which of them it could take, and how many it took."""

    scorer: str
    ratio: float
    excluded: int
    knocked_out: int


@dataclass(frozen=True)
class PreparedText:
    """The start of a solution as the model has read it under each condition.

    cut: of the way to the answer; None up to the answer. kept: response tokens in front of what is
    regenerated. conditions: the first is None, where nothing is knocked out.
    """

    solution: Solution
    cut: float | None
    kept: int
    conditions: tuple[Condition | None, ...]
    prefilled: Prefilled


def prepare_text(
    study: CausalStudy,
    within: SolutionSet,
    solution: Solution,
    scores: dict[str, Tensor],
    cut: float | None,
    knockout: Knockout,
) -> PreparedText:
    """Run the model on the start of a solution under all conditions, up to what is regenerated.

    scores: of each scorer choice by its name, (T,) over prompt and response.
    """
    kept = solution.before if cut is None else max(1, round(cut * solution.before))
    ids = [*solution.prompt_ids, *solution.response_ids[:kept]]
    conditions: list[Condition | None] = [None]
    masks = [torch.zeros(len(ids), dtype=torch.bool)]
    for condition, taken in _knocked_out(study, within, solution, scores, ids):
        conditions.append(condition)
        masks.append(taken)
    target = solution.response_ids[kept : kept + solution.answer_tokens]
    prefilled = prefill(
        within.model,
        knockout,
        ids,
        torch.stack(masks),
        target=() if study.protocol == "rest" else target,
        keep=study.regenerate,
    )
    return PreparedText(solution, cut, kept, tuple(conditions), prefilled)


def _knocked_out(
    study: CausalStudy,
    within: SolutionSet,
    solution: Solution,
    scores: dict[str, Tensor],
    ids: list[int],
) -> Iterator[tuple[Condition, Tensor]]:
    """Each condition with the tokens that it knocks out, (T,) bool over `ids`."""
    position = torch.arange(len(ids))
    structural = within.structural[torch.tensor(ids)]
    for excluded in study.excluded:
        eligible = (position >= len(solution.prompt_ids)) & (position < len(ids) - excluded)
        for ratio in study.ratios:
            for choice in parse_scorers(study.scorers):
                taken = choose(scores[choice.name][: len(ids)], eligible, choice, ratio, structural)
                yield Condition(choice.name, ratio, excluded, int(taken.sum())), taken

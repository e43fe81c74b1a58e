"""One text of a causal study under all its conditions, each with other tokens knocked out."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from flowtracer.intervention import Prefilled, prefill
from flowtracer.intervention.knockout import Knockout
from flowtracer.scorers.responses import user_tokens
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
    least = 1 if study.side == "response" else 0  # something to knock out
    kept = solution.before if cut is None else max(least, round(cut * solution.before))
    ids = [*solution.prompt_ids, *solution.response_ids[:kept]]
    conditions: list[Condition | None] = [None]
    masks = [torch.zeros(len(ids), dtype=torch.bool)]
    for condition, taken in _knocked_out(study, within, solution, scores, ids):
        conditions.append(condition)
        masks.append(taken)
    target = solution.response_ids[kept : solution.before + solution.answer_tokens]
    prefilled = prefill(
        within.model,
        knockout,
        ids,
        torch.stack(masks),
        target=() if study.protocol == "rest" and study.regenerate else target,
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
    structural = within.structural[torch.tensor(ids)]
    choices = parse_scorers(study.scorers, side=study.scored_side)
    for excluded in study.excluded:
        eligible = _eligible(study, within, solution, len(ids), excluded)
        for ratio in study.ratios:
            for choice in choices:
                taken = choose(scores[choice.name][: len(ids)], eligible, choice, ratio, structural)
                yield Condition(choice.name, ratio, excluded, int(taken.sum())), taken


def _eligible(
    study: CausalStudy, within: SolutionSet, solution: Solution, length: int, excluded: int
) -> Tensor:
    """Tokens of the study's side, without the last `excluded` of them, (length,) bool."""
    position, begin = torch.arange(length), len(solution.prompt_ids)
    if study.side == "response":
        return (position >= begin) & (position < length - excluded)
    eligible = position < begin
    if study.side == "user":
        prompt = torch.tensor([solution.prompt_ids])
        messages = within.task.prompt(within.task.examples[solution.problem])
        user = user_tokens(within.tokenizer, prompt, torch.ones_like(prompt), [messages])[0]
        eligible[:begin] = user
    behind = eligible.flip(0).cumsum(0).flip(0)  # eligible tokens from here on
    return eligible & (behind > excluded)

"""Weights of every rule on a batch of rollouts, scored by the policy itself or by another model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowtracer.credit import Credit, ScoreOptions, TokenCredit
from flowtracer.credit.credit import credit_of_scores, token_scores
from flowtracer.models import Loaded
from flowtracer.studies.gradient.rollouts import Group, RolloutBatch, batch_of
from flowtracer.tasks import Task


@dataclass(frozen=True)
class Weighing:
    """What the weights of rules are computed with.

    credits: one a rule, None for uniform weights. answer: the rule that the batch's answers were found by.
    """

    loaded: Loaded
    task: Task
    credits: Sequence[Credit | None]
    answer: str
    delimiters: Tensor


def rule_credits(
    weighing: Weighing, rollouts: RolloutBatch, groups: Sequence[Group]
) -> list[TokenCredit | None]:
    """Credit of every rule, None for uniform weights; rules that differ in selection share scores."""
    by_graph: dict[tuple[ScoreOptions, str, Any], list[Credit]] = {}
    for credit in weighing.credits:
        if credit is not None and not credit.neutral:
            key = (credit.options, credit.question, credit.answer)
            by_graph.setdefault(key, []).append(credit)
    results: dict[int, TokenCredit] = {}
    for (options, question, answer), members in by_graph.items():
        batch = rollouts.scored
        if question == "user" or answer != weighing.answer:
            conversations = None
            if question == "user":
                examples = [weighing.task.examples[group.problem] for group in groups]
                conversations = [weighing.task.prompt(example) for example in examples]
            batch = batch_of(
                weighing.loaded,
                groups,
                answer=answer,
                delimiters=weighing.delimiters,
                conversations=conversations,
            ).scored
        names = sorted({credit.scorer for credit in members})
        scores = token_scores(weighing.loaded.model, batch, names, options)
        for credit in members:
            results[id(credit)] = credit_of_scores(scores[credit.scorer], batch, credit)
    return [results.get(id(credit)) for credit in weighing.credits]


def weights_of(credits: Sequence[TokenCredit | None], rollouts: RolloutBatch) -> list[Tensor]:
    """Weights of every rule, (N, T) each."""
    uniform = torch.ones(rollouts.scored.input_ids.shape)
    return [uniform if credit is None else credit.weights for credit in credits]

"""Weights from a scorer beside the trainer, for frameworks whose own model shows no attention.

Megatron, vLLM and remote training services have no attention of transformers to read. There a model of
its own, such as a copy of the first policy, scores the responses, in the process or behind a server.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from flowtracer.credit import Credit, apply_credit
from flowtracer.credit.arguments import read_credit
from flowtracer.service.client import ScorerClient
from flowtracer.service.rows import FAILED, SCORED, SKIPPED, TokenWeights
from flowtracer.service.scorer import Scorer

KEY = "flow_credit"
PART = 64  # responses of one request, our choice: a server shares its time between clients
# For a server to come back within a step, our choice: half of the ten minutes after which processes of
# Megatron that wait for one another give up.
PATIENCE = 300.0
START_SECONDS = 120.0  # for the server to answer before training begins, our choice


class Weighs(Protocol):
    """What `Scorer` and `ScorerClient` have in common."""

    def weights(
        self, input_ids: Sequence[Any], *, response_masks: Sequence[Any]
    ) -> TokenWeights: ...


@dataclass(frozen=True)
class ScorerSettings:
    """Who scores: a model in this process, or a server.

    model: name or folder, as in `flowtracer.load`; credit: its rule. checkpoints, every: see `Scorer`.
    url: of `flowtracer serve --score`, which has a model and a rule of its own; token: as it was started.
    """

    model: str = ""
    credit: Credit = field(default_factory=Credit)
    checkpoints: str | None = None
    every: int = 1
    url: str = ""
    token: str = ""

    @property
    def neutral(self) -> bool:
        """Whether every weight is 1, so that nothing need be scored."""
        return not self.url and self.credit.neutral


def read_settings(options: Mapping[str, Any] | None) -> ScorerSettings:
    """Settings under the key `flow_credit`.

    Either `model`, perhaps with `checkpoints` and `every`, and the options of `CreditArguments`; or `url`,
    perhaps with `token`. Raises ValueError, in one sentence, for a wrong one.
    """
    named = dict(options) if isinstance(options, Mapping) else {}
    if bool(named.get("model")) == bool(named.get("url")):
        raise ValueError(
            f"{KEY} needs model or url, one of them: the model that scores the responses, such as the one "
            "that training begins with, or the address of `flowtracer serve --score`"
        )
    if named.get("url"):
        others = sorted(named.keys() - {"url", "token"})
        if others:
            raise ValueError(
                f"{KEY}.{others[0]} has no effect beside {KEY}.url: give the server its rule when it starts"
            )
        settings = ScorerSettings(url=str(named["url"]), token=str(named.get("token") or ""))
        ScorerClient(settings.url, token=settings.token)  # refuses what cannot be sent
        return settings
    scorer = {name: named.pop(name) for name in ("model", "checkpoints", "every") if name in named}
    credit = read_credit(named, key=KEY, page="docs/slime.md")
    credit.check_token_ids()
    for name in ("model", "checkpoints"):
        if not isinstance(scorer.get(name, ""), str):
            raise ValueError(f"{KEY}.{name} is {scorer[name]!r}; give a name or a folder")
    every = scorer.get("every", 1)
    if type(every) is not int or every < 1:
        raise ValueError(f"{KEY}.every is {every!r}; give a whole number of steps, 1 or more")
    if every > 1 and not scorer.get("checkpoints"):
        raise ValueError(
            f"{KEY}.every has no effect without {KEY}.checkpoints, the folder to look in"
        )
    return ScorerSettings(credit=credit, **scorer)


@cache
def own_scorer(settings: ScorerSettings) -> Weighs:
    """The scorer of these settings, a model loaded once in each process.

    Raises ModelError or ValueError for a model that cannot be loaded or read.
    """
    if settings.url:
        return _client(settings, PATIENCE)
    return Scorer(
        settings.model,
        rule=settings.credit,
        checkpoints=settings.checkpoints,
        every=settings.every,
    )


def check_server(settings: ScorerSettings) -> None:
    """Ask a server whether it is there. Raises ConnectionError or PermissionError where it is not."""
    if settings.url:
        _client(settings, START_SECONDS).info()


def _client(settings: ScorerSettings, seconds: float) -> ScorerClient:
    return ScorerClient(
        settings.url, token=settings.token, patience=seconds, answer_seconds=seconds
    )


@dataclass(frozen=True)
class ResponseWeights:
    """Weights of responses, (R,) float32 of each.

    failed: rows that were to be scored and have weight 1, for want of an answer say.
    """

    weights: list[Tensor]
    failed: list[bool]


def response_weights(
    scorer: Weighs,
    input_ids: Sequence[Tensor],
    response_masks: Sequence[Tensor],
    informative: Sequence[bool],
) -> ResponseWeights:
    """Weights of the tokens of each response, 1 in those that are not informative.

    Args:
        input_ids: token ids (T,) of prompt and response of each sequence.
        response_masks: (R,) of each response, 0 at tool output, which has weight 1.
        informative: whether a sequence's advantage is not zero.
    """
    sizes = [len(mask) for mask in response_masks]
    weights = [torch.ones(size) for size in sizes]
    states = [SKIPPED] * len(sizes)
    masks = [mask.bool().long().tolist() for mask in response_masks]
    rows = [row for row, learned in enumerate(informative) if learned and any(masks[row])]
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        ids = [input_ids[row].tolist() for row in part]
        full = [
            [0] * (len(tokens) - sizes[row]) + masks[row]
            for tokens, row in zip(ids, part, strict=True)
        ]
        for row, (values, state) in zip(part, _ask(scorer, ids, full), strict=True):
            states[row] = state
            weights[row] = torch.tensor(values[len(values) - sizes[row] :])
    return ResponseWeights(weights, [state not in (SCORED, SKIPPED) for state in states])


def _ask(
    scorer: Weighs, ids: list[list[int]], masks: list[list[int]]
) -> list[tuple[list[float], str]]:
    """Weights and state of each row; one that the scorer refuses, for an unknown id say, has weight 1."""
    try:
        result = scorer.weights(ids, response_masks=masks)
        return list(zip(result.weights, result.states, strict=True))
    except ValueError as error:
        if len(ids) == 1:
            warnings.warn(f"a response has weight 1: {error}", stacklevel=2)
            return [([1.0] * len(ids[0]), FAILED)]
        return [_ask(scorer, [row], [mask])[0] for row, mask in zip(ids, masks, strict=True)]


def weighted(advantages: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
    """`apply_credit` of one response: all (R,)."""
    weights, mask = weights.to(advantages.device), mask.to(advantages.device)
    return apply_credit(advantages[None], weights[None], mask[None])[0]


def weight_figures(
    result: ResponseWeights, response_masks: Sequence[Tensor]
) -> dict[str, list[float]]:
    """Per response: mean weight and ratio of tokens with another weight than 1; 1 where it failed."""
    inside = [
        row[mask.bool().cpu()] for row, mask in zip(result.weights, response_masks, strict=True)
    ]
    return {
        "mean_weight": [float(row.mean()) if len(row) else 1.0 for row in inside],
        "selected": [float((row != 1).float().mean()) if len(row) else 0.0 for row in inside],
        "not_weighted": list(map(float, result.failed)),
    }

"""How well each scorer agrees with true credit, over the problems of a study."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowtracer.credit.values import spread
from flowtracer.statistics.intervals import Interval, bootstrap, ratio_of_sums
from flowtracer.studies.value.agreement import (
    concordance,
    credit_in_top,
    partial_rank_correlation,
    rank_correlation,
    tells_apart,
    unit_scores,
)

RATIOS = (0.2, 0.4)  # of tokens; 40% is the paper's, section 3.3
CEILING = "half of the continuations"
SURPRISE = "1 - p"

Array = NDArray[np.float64]
Scores = Callable[[dict[str, Any], int], Any]  # a row and the number of a response to its scores
Brought = Mapping[str, Mapping[tuple[str, int], Any]]  # by name, from (problem's id, response)


@dataclass(frozen=True)
class Judged:
    """One response with one scorer's scores and the credit they are compared with.

    scores, credit: (T,), of tokens. points: where its units begin; evenly: whether a unit's credit is
    spread over its tokens.
    """

    scores: Tensor
    credit: Tensor  # (n,), of units
    points: list[int]
    evenly: bool
    right: bool

    @property
    def per_token(self) -> Tensor:
        """Credit of tokens, (T,)."""
        return spread(self.credit, self.points, len(self.scores), evenly=self.evenly)


@dataclass(frozen=True)
class Agreement:
    """A scorer's figures over the responses that it ranks; None where no response has one.

    A scorer that needs an answer gives every token of a response without one the same score, and such a
    response keeps uniform weights in training. So it tells nothing about the scorer.
    """

    name: str
    responses: int
    in_top: dict[float, Interval]  # part of |credit| inside the top tokens, by ratio
    correlation: Interval | None  # Spearman with |credit| among a response's units
    without_position: Interval | None
    sign_right: Interval | None  # area under ROC, raising against lowering units, right responses
    sign_wrong: Interval | None
    against_chance: (
        Array  # (problems,), |credit| in the top 40% less chance's, in a problem's mean |credit|
    )


def agreements(
    rows: Sequence[dict[str, Any]], *, evenly: bool, brought: Brought | None = None
) -> list[Agreement]:
    """Figures of every scorer, of 1 - p, of scores that a user brought, and of the ceiling, which is last.

    The ceiling compares credit from one half of the continuations with credit from the other: no score can
    be expected to agree better with values of so few.

    rows: of `run_value`. brought: by name, from (problem's id, response) to scores.

    A scorer that ranks no response with credit is left out. Raises ValueError if no value changed anywhere.
    """
    responses = [response for row in rows for response in row["responses"]]
    names = dict.fromkeys(name for response in responses for name in response["scores"])
    if not any(value for response in responses for value in response["credit"]):
        raise ValueError(
            "no value changed anywhere: all continuations of a response had the same reward; use problems "
            "that the model solves only sometimes, or a larger --max-new-tokens"
        )
    scorers: dict[str, Scores] = {name: partial(_stored, name) for name in names}
    scorers[SURPRISE] = _surprise
    for name, by_response in (brought or {}).items():
        scorers[name] = partial(_brought, by_response)
    result = [
        _agreement(
            name,
            [
                [
                    _judged(scores(row, number), response["credit"], response, evenly)
                    for number, response in enumerate(row["responses"])
                ]
                for row in rows
            ],
        )
        for name, scores in scorers.items()
    ]
    by_half = [
        [credits for r in row["responses"] for credits in _halves(r, evenly)] for row in rows
    ]
    return [agreement for agreement in (*result, _agreement(CEILING, by_half)) if agreement]


def _stored(name: str, row: dict[str, Any], number: int) -> Any:
    return row["responses"][number]["scores"][name]


def _surprise(row: dict[str, Any], number: int) -> Any:
    return 1 - np.exp(row["responses"][number]["log_probability"])


def _brought(by_response: Mapping[tuple[str, int], Any], row: dict[str, Any], number: int) -> Any:
    return by_response[row["id"], number]


def _judged(scores: Any, credit: Sequence[float], response: dict[str, Any], evenly: bool) -> Judged:
    return Judged(
        torch.as_tensor(np.asarray(scores, dtype=float)),
        torch.tensor(credit, dtype=torch.float64),
        response["points"],
        evenly,
        response["reward"] > 0,
    )


def _halves(response: dict[str, Any], evenly: bool) -> Iterator[Judged]:
    """Each half's credit as a score for the other's. Signed where signs are asked, see `_sign`."""
    tokens = len(response["response_ids"])
    for first, second in ((0, 1), (1, 0)):
        known = torch.tensor(response["halves"][first], dtype=torch.float64)
        scores = spread(known, response["points"], tokens, evenly=evenly)
        yield _judged(scores, response["halves"][second], response, evenly)


def _agreement(name: str, problems: Sequence[Sequence[Judged]]) -> Agreement | None:
    signed = name == CEILING
    if not signed:
        problems = [[judged for judged in part if tells_apart(judged.scores)] for part in problems]
    if not any(judged.credit.any() for part in problems for judged in part):
        return None

    def size(judged: Judged) -> Tensor:
        return judged.scores.abs() if signed else judged.scores

    in_top = {}
    for ratio in RATIOS:
        sums = [
            [credit_in_top(size(response), response.per_token, ratio) for response in responses]
            for responses in problems
        ]
        table = np.array([np.sum(part, axis=0) if part else (0.0, 0.0) for part in sums])
        in_top[ratio] = ratio_of_sums(table[:, ::-1])
    chance = np.array(
        [
            sum(
                total * ceil(RATIOS[-1] * len(response.scores)) / len(response.scores)
                for response, (_, total) in zip(responses, part, strict=True)
            )
            for responses, part in zip(problems, sums, strict=True)
        ]
    )

    def correlated(judged: Judged, position: bool) -> float:
        scores = unit_scores(size(judged), judged.points, evenly=judged.evenly)
        credit = judged.credit.abs().numpy()
        if not position:
            return rank_correlation(scores, credit)
        return partial_rank_correlation(scores, credit, np.array(judged.points, dtype=float))

    def sign(right: bool) -> Interval | None:
        pairs = np.array(
            [
                np.sum(
                    [
                        (0.0, 0.0),
                        *(_sign(response) for response in part if response.right == right),
                    ],
                    axis=0,
                )
                for part in problems
            ]
        )
        return ratio_of_sums(pairs[:, ::-1]) if pairs[:, 1].sum() else None

    return Agreement(
        name,
        sum(map(len, problems)) // (2 if signed else 1),  # one half against the other, both ways
        in_top,
        _mean_over_problems(problems, lambda response: correlated(response, False)),
        _mean_over_problems(problems, lambda response: correlated(response, True)),
        sign(True),
        sign(False),
        (table[:, 0] - chance) / table[:, 1].mean(),
    )


def _sign(judged: Judged) -> tuple[float, float]:
    scores = unit_scores(judged.scores, judged.points, evenly=judged.evenly)
    return concordance(scores, judged.credit.numpy())


def _mean_over_problems(
    problems: Sequence[Sequence[Judged]], figure: Callable[[Judged], float]
) -> Interval | None:
    """Mean over a problem's responses, then over problems; those without the figure are left out."""
    means = []
    for responses in problems:
        values = np.array([figure(response) for response in responses])
        if np.isfinite(values).any():
            means.append(values[np.isfinite(values)].mean())
    return bootstrap(np.array(means)) if means else None

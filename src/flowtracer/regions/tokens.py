"""From spans on the text to weights on tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowtracer.regions.answers import AnswerRule, Span, find_answer
from flowtracer.regions.offsets import TokenizedText


@dataclass(frozen=True)
class TokenPositions:
    """An answer given as token numbers of the response, 0 first, negative from the end."""

    positions: tuple[int, ...]


def answer_weights(
    rule: AnswerRule | TokenPositions, response: TokenizedText, *, thinking: bool = False
) -> Tensor:
    """Weight of every response token as answer, (T,) float; all 0 if the rule finds no answer.

    thinking: see `find_answer`.

    Raises ValueError for an unknown rule or a position outside the response.
    """
    count = len(response.ids)
    if not isinstance(rule, TokenPositions):
        return token_weights(find_answer(response.text, rule, thinking=thinking), response.offsets)
    weights = torch.zeros(count)
    for position in rule.positions:
        if not -count <= position < count:
            raise ValueError(
                f"answer position {position} does not exist in a response of {count} tokens"
            )
        weights[position] = 1.0
    return weights


def token_weights(spans: Iterable[Span], offsets: Sequence[tuple[int, int]]) -> Tensor:
    """Weight of every token, (T,) float: the largest weight of the spans it overlaps, else 0.

    A token overlaps a span if they share a character, so a token that straddles the edge of the
    box belongs to the answer, and so do all tokens that together make one of its characters."""
    bounds = torch.tensor(offsets, dtype=torch.long).reshape(-1, 2)
    weights = torch.zeros(len(bounds))
    for start, stop, weight in spans:
        inside = (bounds[:, 0] < stop) & (bounds[:, 1] > start)
        inside &= bounds[:, 1] > bounds[:, 0]
        weights = torch.where(inside, weights.clamp(min=weight), weights)
    return weights

"""From spans on the text to weights on tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flowtracer.regions.answers import AnswerRule, Span, find_answer
from flowtracer.regions.offsets import TokenizedText
from flowtracer.regions.reading import ReadTokens


@dataclass(frozen=True)
class TokenPositions:
    """An answer given as token positions in the response, from 0, negative from the end."""

    positions: tuple[int, ...]


def answer_weights(
    rule: AnswerRule | TokenPositions,
    response: TokenizedText | ReadTokens,
    *,
    thinking: bool = False,
) -> Tensor:
    """Weight of every response token as answer, (T,) float; all 0 if the rule finds no answer.

    thinking: see `find_answer`.

    Raises ValueError for an unknown rule or a position outside the response.
    """
    count = len(response.ids)
    if not isinstance(rule, TokenPositions):
        spans = find_answer(response.text, rule, thinking=thinking)
        return token_weights(spans, response.offsets_for(spans))
    weights = torch.zeros(count)
    for position in rule.positions:
        if not -count <= position < count:
            raise ValueError(
                f"answer position {position} does not exist in a response of {count} tokens"
            )
        weights[position] = 1.0
    return weights


def token_weights(spans: Iterable[Span], offsets: Sequence[tuple[int, int]] | np.ndarray) -> Tensor:
    """Weight of every token, (T,) float: the largest weight of the spans it overlaps, else 0.

    A token overlaps a span if they share a character, so a token that straddles the edge of the
    box belongs to the answer, and so do all tokens that together make one of its characters."""
    starts, stops = np.asarray(offsets, dtype=np.int64).reshape(-1, 2).T
    weights = np.zeros(len(starts), dtype=np.float32)
    for start, stop, weight in spans:
        inside = (starts < stop) & (stops > start) & (stops > starts)
        weights[inside] = np.maximum(weights[inside], np.float32(weight))
    return torch.from_numpy(weights)

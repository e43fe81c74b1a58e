"""True credit out of values, and where values are taken. Pure functions."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

THRESHOLD = (
    0.98  # our choice: a token of which the policy was surer cannot change the value by much
)

# The end of a line, or of a sentence: a mark, perhaps a closing quote or bracket, then white space.
_UNIT_END = re.compile(r"\n+|[.!?][\"')\]]?\s+")


def decisions(log_probabilities: Tensor, threshold: float = THRESHOLD) -> list[int]:
    """Indices of the tokens that the policy gave a probability below the threshold.

    log_probabilities: (T,), of a response's tokens at temperature 1. A response without any gets its
    first token, so that it has a value.
    """
    below = log_probabilities < torch.tensor(threshold, dtype=torch.float64).log()
    return below.nonzero()[:, 0].tolist() or [0]


def unit_starts(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Indices of the tokens that begin a line or a sentence, the first token among them.

    offsets: (start, stop) of each token in the text. A token that holds an end and the beginning of
    what follows belongs to the unit that ends.
    """
    ends = [match.end() for match in _UNIT_END.finditer(text) if match.end() < len(text)]
    starts = {0}
    for end in ends:
        following = (index for index, (start, _) in enumerate(offsets) if start >= end)
        first = next(following, None)
        if first is not None:
            starts.add(first)
    return sorted(starts)


def credit_of_values(values: Tensor, outcome: float) -> Tensor:
    """What each unit changed: `credit[j] = V[j + 1] - V[j]`, with V after the last unit the outcome.

    values: (n,), V before each unit, the chance that a continuation from there is graded right.
    Identity: the credits sum to `outcome - V[0]` (Kazemnejad et al. 2024, VinePPO, arXiv 2410.01679:
    the value of a finished text is its outcome). Tokens between two decisions are certain, so V before
    a decision is V after the one before it.
    """
    after = torch.cat([values[1:], values.new_tensor([outcome])])
    return after - values


def spread(credit: Tensor, points: Sequence[int], tokens: int, *, evenly: bool) -> Tensor:
    """Credit of units as credit of tokens, (T,): on a unit's first token, or on all of them evenly.

    credit: (n,), of units that begin at `points`. A decision is one token; a line's credit is spread.
    """
    per_token = torch.zeros(tokens, dtype=credit.dtype)
    stops = [*points[1:], tokens]
    for value, start, stop in zip(credit.tolist(), points, stops, strict=True):
        if evenly:
            per_token[start:stop] = value / (stop - start)
        else:
            per_token[start] = value
    return per_token


def step_advantages(credit: Tensor, points: Sequence[int], tokens: int) -> Tensor:
    """Advantage of every token, (T,): the credit of the step that it belongs to, as in VinePPO.

    A step is a unit with all tokens up to the next one; tokens in front of the first unit were certain
    and get 0. credit: (n,), of units that begin at `points`.
    """
    advantages = torch.zeros(tokens, dtype=credit.dtype)
    stops = [*points[1:], tokens]
    for value, start, stop in zip(credit.tolist(), points, stops, strict=True):
        advantages[start:stop] = value
    return advantages

"""True credit out of values, and where values are taken. Pure functions."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

THRESHOLD = (
    0.98  # our choice: a token of which the policy was surer cannot change the value by much
)

# The end of a line with the blank lines behind it, or of a sentence: a mark, perhaps a closing quote or
# bracket. White space in front of a sentence is the beginning of its first token, so it belongs to it.
_UNIT_END = re.compile(r"\n(?:[^\S\n]*\n)*|[.!?][\"')\]]?(?=[^\S\n]+\S)")
_LIST_NUMBER = re.compile(r"[^\w\n]*\d+\.")  # at the beginning of a line, such as "2." or "**2."


def decisions(log_probabilities: Tensor, threshold: float = THRESHOLD) -> list[int]:
    """Indices of the tokens that the policy gave a probability below the threshold.

    log_probabilities: (T,), of a response's tokens at temperature 1. A response without any gets its
    first token, so that it has a value.
    """
    below = log_probabilities < torch.tensor(threshold, dtype=torch.float64).log()
    return below.nonzero()[:, 0].tolist() or [0]


def unit_starts(text: str, offsets: Sequence[tuple[int, int]], *, least: int = 1) -> list[int]:
    """Indices of the tokens that begin a line or a sentence, the first token among them.

    The number of a list's item belongs to its sentence, and a unit without a letter or a digit, such as the
    line of a bracket, to the unit in front of it. A token that holds an end and the beginning of what
    follows belongs to the unit that ends.

    offsets: (start, stop) of each token in the text. least: tokens of a unit; a shorter one goes on with
    the next line or sentence.
    """
    begins = [start for start, _ in offsets]
    ends = [match.end() for match in _UNIT_END.finditer(text) if not _numbers_an_item(text, match)]
    starts = [0]
    for end, next_end in pairwise([*ends, len(text)]):
        first = bisect_left(begins, end)
        holds_content = any(map(str.isalnum, text[end:next_end]))
        if first < len(begins) and first - starts[-1] >= least and holds_content:
            starts.append(first)
    return starts


def _numbers_an_item(text: str, end: re.Match[str]) -> bool:
    line = text.rfind("\n", 0, end.start()) + 1
    return _LIST_NUMBER.fullmatch(text, line, end.end()) is not None


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

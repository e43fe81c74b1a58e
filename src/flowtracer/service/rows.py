"""What a scorer is asked and what it answers, as plain lists; imports nothing heavy.

A client and the scorer check their arguments by the same function, so that both say the same of a mistake.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# States of a row.
SCORED = "scored"
NO_ANSWER = "no answer"
NO_SCORES = "no scores"  # every score is 0
EMPTY = "empty"  # no prompt, or no token that the policy wrote
TOO_LONG = "too long"
FAILED = "failed"  # the model failed on it, out of memory say
SKIPPED = "skipped"  # not in `row_mask`
STATES = (SCORED, NO_ANSWER, NO_SCORES, EMPTY, TOO_LONG, FAILED, SKIPPED)


@dataclass(frozen=True)
class Rows:
    """Sequences of prompt and response; a mask is 1 at tokens that the policy wrote."""

    input_ids: list[list[int]]
    prompt_lengths: list[int]
    response_masks: list[list[int]] | None = None
    row_mask: list[bool] | None = None  # rows to score; None: all

    def __len__(self) -> int:
        return len(self.input_ids)

    @cached_property
    def tokens(self) -> int:
        return sum(map(len, self.input_ids))

    def masks(self) -> list[list[int]]:
        """A mask for each row, also where prompt lengths say the same."""
        if self.response_masks is not None:
            return self.response_masks
        return [
            [0] * length + [1] * (len(row) - length)
            for row, length in zip(self.input_ids, self.prompt_lengths, strict=True)
        ]


@dataclass(frozen=True)
class TokenWeights:
    """Weights as lists aligned with the tokens of each row, 1.0 wherever credit says nothing.

    weights: one number for each token of `input_ids`, prompt included. states: what became of each row,
    one of `STATES`; the weights of all but "scored" are 1 (but for process rewards). prompt_lengths: as
    asked, or where each mask has its first token. revision: which weights the model had: its name, or
    the checkpoint's. step: the checkpoint's number, None before the first refresh.
    """

    weights: list[list[float]]
    states: list[str]
    prompt_lengths: list[int]
    revision: str
    step: int | None = None

    @property
    def responses(self) -> list[list[float]]:
        """The weights of each row's response alone: those behind its prompt."""
        return [row[start:] for row, start in zip(self.weights, self.prompt_lengths, strict=True)]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows are in which state; every state is there."""
        return dict.fromkeys(STATES, 0) | Counter(self.states)


def read_rows(
    input_ids: Sequence[Any],
    prompt_lengths: Sequence[Any] | None = None,
    *,
    response_masks: Sequence[Any] | None = None,
    row_mask: Sequence[Any] | None = None,
) -> Rows:
    """Arguments of `Scorer.weights` as plain lists; rows may be lists, arrays or tensors.

    Raises ValueError, in one sentence, for anything that no odd response explains: other types, other
    lengths, or not exactly one of prompt_lengths and response_masks.
    """
    if (prompt_lengths is None) == (response_masks is None):
        raise ValueError("give prompt_lengths or response_masks, one of them")
    ids = [_integers(row, f"input_ids[{i}]") for i, row in enumerate(_list(input_ids, "input_ids"))]
    masks = None
    if prompt_lengths is not None:
        lengths = _integers(prompt_lengths, "prompt_lengths")
        _check_count("prompt_lengths", len(lengths), len(ids))
        for i, (length, row) in enumerate(zip(lengths, ids, strict=True)):
            if not 0 <= length <= len(row):
                raise ValueError(
                    f"prompt_lengths[{i}] is {length}, and row {i} of input_ids has {len(row)} tokens"
                )
    else:
        listed = _list(response_masks, "response_masks")
        _check_count("response_masks", len(listed), len(ids))
        masks = [_mask(mask, f"response_masks[{i}]") for i, mask in enumerate(listed)]
        for i, (mask, row) in enumerate(zip(masks, ids, strict=True)):
            if len(mask) != len(row):
                raise ValueError(
                    f"response_masks[{i}] has {len(mask)} entries for {len(row)} tokens"
                )
        lengths = [mask.index(1) if 1 in mask else len(mask) for mask in masks]
    chosen = None
    if row_mask is not None:
        chosen = list(map(bool, _mask(row_mask, "row_mask")))
        _check_count("row_mask", len(chosen), len(ids))
    return Rows(ids, lengths, masks, chosen)


def check_vocabulary(rows: Rows, vocabulary: int, pictures: Collection[int] = ()) -> None:
    """Raise ValueError for a token id that the model does not have, or that stands for a picture."""
    for i, row in enumerate(rows.input_ids):
        if row and not (min(row) >= 0 and max(row) < vocabulary):
            wrong = next(token for token in row if not 0 <= token < vocabulary)
            raise ValueError(
                f"input_ids[{i}] holds {wrong}, which is not in the model's vocabulary of {vocabulary:,}"
            )
        seen = [token for token in sorted(pictures) if token in row]
        if seen:
            raise ValueError(
                f"input_ids[{i}] holds {seen[0]}, which stands for a picture; pictures cannot be sent, score "
                "the row with `sequence_credit` and its `model_inputs`"
            )


def _list(value: Any, name: str, entries: str = "with one entry a row") -> list[Any]:
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {_said(value)}; it must be a list {entries}")
    return list(value)


def _numbers(value: Any, name: str, entries: str, types: set[type]) -> list[Any]:
    """A list of numbers of these types; those of numpy and torch become Python's."""
    numbers = _list(value, name, entries)
    if set(map(type, numbers)) - types:
        numbers = [number.item() if hasattr(number, "item") else number for number in numbers]
        for number in numbers:
            if type(number) not in types:
                raise ValueError(f"{name} holds {_said(number)}; it must be a list {entries}")
    return numbers


def _integers(value: Any, name: str) -> list[int]:
    return _numbers(value, name, "of whole numbers", {int})


def _mask(value: Any, name: str) -> list[int]:
    numbers = _numbers(value, name, "of 0 and 1", {int, bool, float})
    if set(numbers) - {0, 1}:
        wrong = next(number for number in numbers if number not in (0, 1))
        raise ValueError(f"{name} holds {_said(wrong)}; it must be a list of 0 and 1")
    return list(map(int, numbers))


def _check_count(name: str, count: int, rows: int) -> None:
    if count != rows:
        raise ValueError(f"{name} has {count} entries for {rows} rows of input_ids")


def _said(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."

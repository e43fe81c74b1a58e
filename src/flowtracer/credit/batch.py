"""Token sequences to give credit to, and what is known of each token."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class ScoreBatch:
    """B sequences of prompt and response, T tokens long with padding on either side; all (B, T)."""

    input_ids: Tensor
    attention_mask: Tensor  # 0 at padding
    question: Tensor  # bool, where flow enters
    candidates: Tensor  # bool, the response's own tokens: no padding, no tool output
    answer: Tensor  # float, weight of each answer token, 0 elsewhere
    structural: Tensor | None = None  # bool, delimiters, for scorers and selections that ask

    def take(self, rows: Tensor, columns: slice = slice(None)) -> "ScoreBatch":
        """Some rows (indices or bool) and a range of columns."""
        taken: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            taken[one.name] = None if value is None else value[rows, columns]
        return ScoreBatch(**taken)

    @property
    def scorable(self) -> Tensor:
        """Rows that have a question, an answer and something to choose from, (B,) bool."""
        return self.question.any(1) & (self.answer > 0).any(1) & self.candidates.any(1)


WORTHWHILE = 2048  # tokens, our choice: a forward of so many is not dominated by its fixed cost
PADDING = 1.25  # our choice: rows of a forward differ by at most a quarter once it is worthwhile


@dataclass(frozen=True)
class ScoreChunk:
    """Rows (R,) of a batch and the columns they need."""

    rows: Tensor
    columns: slice


def chunks(batch: ScoreBatch, rows: Tensor, *, after_answer: bool, most: int) -> list[ScoreChunk]:
    """Split rows into parts of similar length without needless columns.

    Attention costs its width squared, so rows are sorted by length before they are split.

    rows: (R,) indices. after_answer: whether what follows the last answer token is needed. most:
    numbers of (rows, T, T) that a part may take, unless a single row takes more.
    """
    place = torch.arange(batch.input_ids.shape[1], device=rows.device)
    real = batch.attention_mask[rows] > 0
    ends = real if after_answer else batch.answer[rows] > 0
    first = real.int().argmax(1).tolist()
    stop = (ends * (place + 1)).amax(1).tolist()
    parts: list[tuple[list[int], int, int]] = []
    for index in sorted(range(len(rows)), key=lambda i: stop[i] - first[i]):
        if parts:
            held, begin, end = parts[-1]
            worthwhile = len(held) * (end - begin) >= WORTHWHILE
            shortest = stop[held[0]] - first[held[0]]
            begin, end = min(begin, first[index]), max(end, stop[index])
            padded = worthwhile and end - begin > PADDING * shortest
            if (len(held) + 1) * (end - begin) ** 2 <= most and not padded:
                parts[-1] = ([*held, index], begin, end)
                continue
        parts.append(([index], first[index], stop[index]))
    return [ScoreChunk(rows[held], slice(begin, end)) for held, begin, end in parts]

"""Which rows of a batch go through the model together, and which columns of them are needed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flowtracer.scorers.batch import ScoreBatch

WORTHWHILE = 2048  # tokens, our choice: a forward of so many is not dominated by its fixed cost
PADDING = 1.25  # our choice: rows of a forward differ by at most a quarter once it is worthwhile
SHARED_LEAST = 64  # prompt tokens, our choice: below, a second forward costs more than it saves


@dataclass(frozen=True)
class ScoreChunk:
    """Rows (R,) of a batch and the columns they need; the first `shared` of them are the same."""

    rows: Tensor
    columns: slice
    shared: int = 0


def chunks(
    batch: ScoreBatch, rows: Tensor, *, after_answer: bool, most: int, share_prompts: bool = False
) -> list[ScoreChunk]:
    """Split rows into parts of similar length without needless columns.

    Attention costs its width squared, so rows are sorted by length before they are split.

    rows: (R,) indices. after_answer: whether what follows the last answer token is needed. most:
    numbers of (rows, T, T) that a part may take, unless a single row takes more. share_prompts:
    whether responses to the same prompt make parts of their own.
    """
    if not len(rows):
        return []
    groups = prompt_groups(batch, rows) if share_prompts else [(rows, 0)]
    place = torch.arange(batch.input_ids.shape[1], device=rows.device)
    found: list[ScoreChunk] = []
    for members, shared in groups:
        real = batch.attention_mask[members] > 0
        ends = real if after_answer else batch.answer[members] > 0
        first = real.int().argmax(1).tolist()
        stop = (ends * (place + 1)).amax(1).tolist()
        parts: list[tuple[list[int], int, int]] = []
        for index in sorted(range(len(members)), key=lambda i: stop[i] - first[i]):
            if parts:
                held, begin, end = parts[-1]
                worthwhile = len(held) * (end - begin - shared) >= WORTHWHILE
                shortest = stop[held[0]] - first[held[0]]
                begin, end = min(begin, first[index]), max(end, stop[index])
                padded = worthwhile and end - begin > PADDING * shortest
                if (len(held) + 1) * (end - begin) ** 2 <= most and not padded:
                    parts[-1] = ([*held, index], begin, end)
                    continue
            parts.append(([index], first[index], stop[index]))
        found += [
            ScoreChunk(members[held], slice(begin, end), shared if len(held) > 1 else 0)
            for held, begin, end in parts
        ]
    return found


def prompt_groups(batch: ScoreBatch, rows: Tensor) -> list[tuple[Tensor, int]]:
    """Rows by their prompt, with its length; those that share none worth the trouble are one, with 0.

    A prompt is what stands in front of a row's first candidate; it must begin and end in the same
    columns. rows: (R,) indices.
    """
    real = batch.attention_mask[rows] > 0
    own = batch.candidates[rows]
    first, begin = real.int().argmax(1).tolist(), own.int().argmax(1).tolist()
    last = (real * torch.arange(1, real.shape[1] + 1, device=real.device)).amax(1).tolist()
    whole = real.sum(1).tolist()
    groups: dict[tuple[int, ...], list[int]] = {}
    alone: list[int] = []
    for place, row in enumerate(rows.tolist()):
        start, stop = first[place], begin[place]
        if stop - start < SHARED_LEAST or last[place] - start != whole[place]:
            alone.append(row)
            continue
        prompt = batch.input_ids[row, start:stop].tolist()
        groups.setdefault((start, stop, *prompt), []).append(row)
    found = []
    for (start, stop, *_), members in groups.items():
        if len(members) > 1:
            found.append((torch.tensor(members, device=rows.device), stop - start))
        else:
            alone += members
    if alone:
        found.append((torch.tensor(alone, device=rows.device), 0))
    return found

"""Which rows of a batch go through the model together, and which columns of them are needed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flowtracer.scorers.batch import ScoreBatch

LARGE = 2048  # tokens, our choice: a forward of so many is not dominated by its fixed cost
PADDING = 1.25  # our choice: rows of a large forward differ by at most a quarter in length


@dataclass(frozen=True)
class ScoreChunk:
    """Rows (R,) of a batch and the columns they need; the first `shared` of them are the same."""

    rows: Tensor
    columns: slice
    shared: int = 0


def chunks(
    batch: ScoreBatch,
    rows: Tensor,
    *,
    after_answer: bool,
    most: int,
    tokens: int | None = None,
    share_from: int | None = None,
) -> list[ScoreChunk]:
    """Split rows into chunks of similar length without needless columns.

    The cost of attention is quadratic in the width, so rows are sorted by length before they are split.

    rows: (R,) indices. after_answer: whether what follows the last answer token is needed. most:
    entries of (rows, T, T) that a chunk may have, and tokens: its rows times T, a shared prompt excluded;
    unless a single row has more. share_from: tokens of a prompt from which on responses to it make chunks
    of their own; None: none do.
    """
    if not len(rows):
        return []
    groups = [(rows, 0)] if share_from is None else prompt_groups(batch, rows, share_from)
    position = torch.arange(batch.input_ids.shape[1], device=rows.device)
    result: list[ScoreChunk] = []
    for members, shared in groups:
        real = batch.attention_mask[members] > 0
        needed = real if after_answer else batch.answer[members] > 0
        first = real.int().argmax(1).tolist()
        stop = (needed * (position + 1)).amax(1).tolist()
        parts: list[tuple[list[int], int, int]] = []
        for index in sorted(range(len(members)), key=lambda i: stop[i] - first[i]):
            if parts:
                part, begin, end = parts[-1]
                large = len(part) * (end - begin - shared) >= LARGE
                shortest = stop[part[0]] - first[part[0]]
                begin, end = min(begin, first[index]), max(end, stop[index])
                padded = large and end - begin > PADDING * shortest
                entries = (len(part) + 1) * (end - begin) ** 2
                own = (len(part) + 1) * (end - begin - shared)
                full = tokens is not None and own > tokens
                if entries <= most and not (padded or full):
                    parts[-1] = ([*part, index], begin, end)
                    continue
            parts.append(([index], first[index], stop[index]))
        result += [
            ScoreChunk(members[part], slice(begin, end), shared if len(part) > 1 else 0)
            for part, begin, end in parts
        ]
    return result


def prompt_groups(batch: ScoreBatch, rows: Tensor, least: int) -> list[tuple[Tensor, int]]:
    """Groups of rows with the same prompt and its length; all other rows are one group, with 0.

    A prompt is what precedes a row's first candidate; to be shared it must begin and end in the same
    columns. rows: (R,) indices. least: tokens of a prompt that is shared.
    """
    real = batch.attention_mask[rows] > 0
    first = real.int().argmax(1)
    response = batch.candidates[rows].int().argmax(1)
    last = (real * torch.arange(1, real.shape[1] + 1, device=real.device)).amax(1)
    # One copy from the device, and one more where there is a prompt to compare.
    positions = torch.stack([rows, first, response, last, real.sum(1)], 1).tolist()
    long = [
        stop - start >= least and end - start == length for _, start, stop, end, length in positions
    ]
    if not any(long):
        return [(rows, 0)]
    ids = batch.input_ids[rows].tolist()
    groups: dict[tuple[int, ...], list[int]] = {}
    rest: list[int] = []
    for number, (row, start, stop, *_) in enumerate(positions):
        if long[number]:
            groups.setdefault((start, stop, *ids[number][start:stop]), []).append(row)
        else:
            rest.append(row)
    result = []
    for (start, stop, *_), members in groups.items():
        if len(members) > 1:
            result.append((torch.tensor(members, device=rows.device), stop - start))
        else:
            rest += members
    if rest:
        result.append((torch.tensor(rest, device=rows.device), 0))
    return result

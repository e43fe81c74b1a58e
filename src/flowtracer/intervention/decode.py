"""Greedy continuation of many prefilled texts together, hidden tokens staying hidden.

A loop of our own where `generate` would do but for two things: rows that are finished leave the batch
at once, and texts of different lengths, each already prefilled under its conditions, are joined.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import nn

from flowtracer.intervention.knockout import Knockout
from flowtracer.intervention.prefill import Prefilled
from flowtracer.models.cache import cache_of, joined

Finished = Callable[[int, list[int]], bool]  # row, its new tokens


def decode(
    model: nn.Module,
    knockout: Knockout,
    texts: Sequence[Prefilled],
    *,
    limits: Sequence[int],
    ends: Collection[int],
    finished: Finished = lambda row, tokens: False,
) -> list[list[int]]:
    """The most probable next tokens of every row of every text, end-of-text token left out.

    limits: tokens at most, one number a row, over all texts in order. ends: ids that end a text.
    finished: called after every token; whether the row may end. Must run inside
    `attention_knockout(model)`, which gives `knockout`.
    """
    rows = len(limits)
    layers = [joined(parts) for parts in zip(*(text.layers for text in texts), strict=True)]
    width = layers[0][0].shape[2]
    device = layers[0][0].device
    lengths = [text.length for text in texts for _ in range(len(text.hidden))]
    positions = torch.tensor(lengths, device=device)
    gap = torch.arange(width, device=device)[None] < (width - positions)[:, None]
    room = width + max(limits, default=0)
    hidden = torch.zeros(rows, room, dtype=torch.bool, device=device)
    hidden[:, :width] = torch.cat(
        [nn.functional.pad(text.hidden, (width - text.length, 0)) for text in texts]
    )
    mask = nn.functional.pad((~gap).long(), (0, room - width), value=1)
    next_tokens = torch.cat([text.logits for text in texts]).argmax(-1)

    cache = cache_of(layers, rows)
    del layers
    new: list[list[int]] = [[] for _ in range(rows)]
    active = list(range(rows))
    while active:
        kept = []  # of the batch's rows
        for index, (row, token) in enumerate(zip(active, next_tokens.tolist(), strict=True)):
            if token in ends or limits[row] == 0:
                continue
            new[row].append(token)
            if len(new[row]) < limits[row] and not finished(row, new[row]):
                kept.append(index)
        if not kept:
            break
        if len(kept) < len(active):
            rest = torch.tensor(kept, device=device)
            cache.batch_select_indices(rest)
            positions, mask, hidden = positions[rest], mask[rest], hidden[rest]
            next_tokens = next_tokens[rest]
            active = [active[index] for index in kept]
        length = cache.get_seq_length() + 1
        knockout.hidden = hidden
        output = model(
            next_tokens[:, None],
            past_key_values=cache,
            attention_mask=mask[:, :length],
            position_ids=positions[:, None],
            use_cache=True,
        )
        next_tokens = output.logits[:, -1].argmax(-1)
        positions = positions + 1
    knockout.hidden = None
    return new

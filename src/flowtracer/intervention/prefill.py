"""One text under many conditions, each hiding other tokens: what is common is computed once.

A hidden token changes only what comes after it. So the text runs once with nothing hidden, and each
condition starts from those keys and values, behind its own first hidden token.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import Cache

from flowtracer.intervention.knockout import Knockout
from flowtracer.models.cache import Layers, cache_of, layers_of
from flowtracer.models.decoder import device_of, find_decoder
from flowtracer.models.pictures import check_pictured

ROWS = 24  # conditions of one forward pass, our choice: memory, and few differ in where they start
LOGITS = 1 << 25  # numbers of logits in memory at a time, our choice: 128 MiB in float32


class Prefilled(NamedTuple):
    """A text as the model has seen it under C conditions, ready to go on."""

    layers: Layers  # of `length` tokens; none if they were not to be kept
    length: int
    hidden: Tensor  # (C, length) bool
    logits: Tensor  # (C, V) float32, of the token that comes next
    log_probability: Tensor  # (C, S) float32, of each token of the target
    most_probable: (
        Tensor  # (C, S) bool, whether no other token is more probable than that of the target
    )


def prefill(
    model: nn.Module,
    knockout: Knockout,
    ids: Sequence[int],
    hidden: Tensor,
    *,
    target: Sequence[int] = (),
    keep: bool = True,
) -> Prefilled:
    """Run `ids` under each condition and say how probable `target` is as what follows.

    Shapes: ids T tokens, hidden (C, T) bool. Equal conditions share a row of work. Must run inside
    `attention_knockout(model)`, which gives `knockout`. S is 0 for a target of no tokens.
    keep: whether `decode` is to go on from here, which takes the keys and values of every condition.

    Raises AttentionCaptureError for a text with pictures, which are not run here.
    """
    device = device_of(find_decoder(model))
    conditions, inverse = hidden.unique(dim=0, return_inverse=True)
    length, count = len(ids), len(conditions)
    text = torch.tensor([[*ids, *target[:-1]]], device=device)
    check_pictured(model, text, {})
    following = torch.tensor(target, dtype=torch.long, device=device)
    steps = max(1, len(target))

    cache = cache_of([], 1)
    knockout.hidden = None
    plain = _forward(model, text, cache, start=0, steps=steps)
    common, vocabulary = layers_of(cache), plain.shape[-1]
    layers = [
        tuple(part.new_empty(count, *part[0, :, :length].shape) for part in layer)
        for layer in (common if keep else ())
    ]
    logits = torch.empty(count, vocabulary, dtype=torch.float32, device=plain.device)
    log_probability = torch.zeros(count, len(target), device=plain.device)
    most_probable = torch.ones(count, len(target), dtype=torch.bool, device=plain.device)
    most = max(1, min(ROWS, LOGITS // (steps * vocabulary)))
    for rows, start in _forwards(conditions, most):
        if start == length:  # hides nothing: the text as it ran already
            output, kept = plain, common
        else:
            cache = cache_of([(k[:, :, :start], v[:, :, :start]) for k, v in common], len(rows))
            unhidden = text.shape[1] - length
            knockout.hidden = nn.functional.pad(conditions[rows], (0, unhidden)).to(device)
            tail = text[:, start:].expand(len(rows), -1)
            output = _forward(model, tail, cache, start=start, steps=steps)
            kept = layers_of(cache)
        if keep:
            for (keys, values), (k, v) in zip(layers, kept, strict=True):
                keys[rows], values[rows] = k[:, :, :length], v[:, :, :length]
        logits[rows] = output[:, 0].float()
        if len(target):
            logs = output.float().log_softmax(-1)
            at_target = logs.gather(2, following.expand(len(output), -1)[..., None])
            log_probability[rows] = at_target[..., 0]
            most_probable[rows] = output.argmax(-1) == following
    knockout.hidden = None
    return Prefilled(
        [(keys[inverse], values[inverse]) for keys, values in layers],
        length,
        hidden,
        logits[inverse],
        log_probability[inverse],
        most_probable[inverse],
    )


def _forwards(conditions: Tensor, most: int) -> Iterator[tuple[list[int], int]]:
    """Conditions (C, T) that run together, at most `most`, and the first token that is run anew.

    That is the one behind the first hidden token, at the latest the last, whose logits are needed; T
    for conditions that hide nothing.
    """
    length = conditions.shape[1]
    first = torch.where(conditions.any(1), conditions.int().argmax(1), length)
    order = first.argsort(stable=True).tolist()
    affected = [row for row in order if first[row] < length]
    if len(affected) < len(order):
        yield order[len(affected) :], length
    for begin in range(0, len(affected), most):
        rows = affected[begin : begin + most]
        yield rows, min(int(first[rows[0]]) + 1, length - 1)


def _forward(model: nn.Module, ids: Tensor, cache: Cache, *, start: int, steps: int) -> Tensor:
    """Logits (rows, steps, V) of the last `steps` positions."""
    positions = torch.arange(start, start + ids.shape[1], device=ids.device)[None]
    output = model(
        ids,
        past_key_values=cache,
        position_ids=positions.expand(len(ids), -1),
        use_cache=True,
        logits_to_keep=steps,
    )
    logits: Tensor = output.logits
    return logits

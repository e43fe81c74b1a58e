"""Sampled continuations of many prefixes together; what a prefix and its copies share runs once.

Not transformers' `generate`, for three reasons: the copies of a prefix start from one set of keys and
values, prefixes of different texts and lengths go on in one batch, and finished rows leave it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowtracer.models.cache import Layers, cache_of, joined, layers_of
from flowtracer.models.decoder import device_of, find_decoder

LOGITS_AT_ONCE = 256  # positions, our choice
COMPACT = 0.75  # our choice: copying the cache pays off once a quarter of its rows is finished

Choose = Callable[[Tensor], Tensor]  # logits (rows, V) to the next token of each row (rows,)


@dataclass(frozen=True)
class Prefix:
    """A text that the model has read, ready to go on from."""

    layers: Layers  # of each layer keys and values, (1, heads, length, D)
    logits: Tensor  # (V,), of the next token

    @property
    def length(self) -> int:
        """Its number of tokens."""
        return self.layers[0][0].shape[2]


@dataclass(frozen=True)
class ReadText:
    """A text of T tokens that the model has read."""

    layers: Layers  # (1, heads, T, D)
    logits: Tensor  # (T, V), of the token behind each
    log_probability: Tensor  # (T - 1,) float32, of each token but the first, at temperature 1

    def prefix(self, length: int) -> Prefix:
        """Its first tokens, 1 to T; a view."""
        layers = [(keys[:, :, :length], values[:, :, :length]) for keys, values in self.layers]
        return Prefix(layers, self.logits[length - 1])


@torch.no_grad()
def read_prefix(model: nn.Module, ids: Sequence[int]) -> Prefix:
    """Run a text once, to go on from its end; logits of its last position only."""
    text = torch.tensor([list(ids)], device=device_of(find_decoder(model)))
    cache = cache_of([], 1)
    logits = model(text, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
    return Prefix(layers_of(cache), logits[0, -1])


@torch.no_grad()
def read_text(model: nn.Module, ids: Sequence[int]) -> ReadText:
    """Run a text once, for all of its prefixes."""
    text = torch.tensor([list(ids)], device=device_of(find_decoder(model)))
    cache = cache_of([], 1)
    logits = model(text, past_key_values=cache, use_cache=True).logits[0]
    following = text[0, 1:, None]
    chosen = logits[:-1].gather(1, following)[:, 0].float()
    # In parts: a float32 copy of all logits can be larger than the model.
    total = [part.float().logsumexp(-1) for part in logits[:-1].split(LOGITS_AT_ONCE)]
    return ReadText(layers_of(cache), logits, chosen - torch.cat([chosen[:0], *total]))


def sampled(temperature: float, generator: torch.Generator) -> Choose:
    """Draw from the softmax of `logits / temperature`, nothing cut off; temperature 0 takes the best."""
    if temperature == 0:
        return lambda logits: logits.argmax(-1)
    return lambda logits: torch.multinomial(
        (logits.float() / temperature).softmax(-1), 1, generator=generator
    )[:, 0]


@torch.no_grad()
def continue_prefixes(
    model: nn.Module,
    prefixes: Sequence[Prefix],
    *,
    copies: int,
    limits: Sequence[int],
    ends: Collection[int],
    choose: Choose,
) -> list[list[int]]:
    """New tokens of `copies` rows of every prefix, prefix by prefix, the end-of-text token included.

    limits: new tokens at most, one number a prefix. ends: ids that end a text. A row that reached its
    limit has no end-of-text token. The order in which `choose` sees the rows depends only on the
    arguments, so that a seeded generator gives the same tokens again.
    """
    layers = [joined(parts) for parts in zip(*(one.layers for one in prefixes), strict=True)]
    device = layers[0][0].device
    width = layers[0][0].shape[2]
    lengths = torch.tensor([one.length for one in prefixes], device=device)
    gap = torch.arange(width, device=device)[None] < (width - lengths)[:, None]
    every = torch.arange(len(prefixes), device=device).repeat_interleave(copies)
    limit = torch.tensor(list(limits), device=device)[every]
    padded = bool(gap.any())
    mask = nn.functional.pad((~gap).long(), (0, max(limits, default=0)), value=1)[every]
    positions = lengths[every]
    logits = torch.stack([one.logits for one in prefixes])[every]
    cache = cache_of([(keys[every], values[every]) for keys, values in layers], len(every))
    del layers
    stops = torch.tensor(sorted(ends), device=device)

    active = limit > 0
    rows = torch.arange(len(every), device=device)
    drawn: list[tuple[Tensor, Tensor]] = []  # rows and their tokens, step by step
    for step in range(max(limits, default=0)):
        tokens = choose(logits)
        drawn.append((rows[active], tokens[active]))
        active = active & ~torch.isin(tokens, stops) & (step + 1 < limit)
        left = int(active.sum())
        if not left:
            break
        if left < COMPACT * len(rows):
            kept = active.nonzero()[:, 0]
            cache.batch_select_indices(kept)
            rows, tokens, positions, limit = rows[kept], tokens[kept], positions[kept], limit[kept]
            mask, active = mask[kept], active[kept]
        output = model(
            tokens[:, None],
            past_key_values=cache,
            attention_mask=mask[:, : width + step + 1] if padded else None,
            position_ids=positions[:, None],
            use_cache=True,
        )
        logits = output.logits[:, -1]
        positions = positions + 1
    return _by_row(drawn, len(every))


def _by_row(drawn: list[tuple[Tensor, Tensor]], count: int) -> list[list[int]]:
    """Tokens of each row, out of steps that hold the rows still active."""
    tokens: list[list[int]] = [[] for _ in range(count)]
    for rows, step in drawn:
        for row, token in zip(rows.tolist(), step.tolist(), strict=True):
            tokens[row].append(token)
    return tokens

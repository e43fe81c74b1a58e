"""Sampled continuations of many prefixes together; what a prefix and its copies share runs once.

Not transformers' `generate`, for four reasons: the copies of a prefix run as one row for as long as they
drew the same tokens, prefixes of a few texts keep these texts' keys and values once, prefixes of different
texts and lengths go on in one batch, and finished rows leave it.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from flowtracer.models.branching import Prefix, growing_texts
from flowtracer.models.cache import Layers, cache_of, layers_of
from flowtracer.models.decoder import AttentionCaptureError, device_of, find_decoder
from flowtracer.models.layer_kinds import keeps_own_state, keeps_plain_cache, text_config

LOGITS_AT_ONCE = 256  # positions, our choice
PROBABILITIES_AT_ONCE = 1 << 24  # our choice: 64 MiB in float32
BLOCK = 128  # tokens whose probabilities are summed up together, our choice
EDGE = 2.0**-32  # of a probability, far below what float32 tells apart
NUMBERS = 1 << 29  # keys and values in memory at a time, our choice: 2 GiB in float32
MOST_ROWS = 2048  # our choice: beyond, a step of a small model gains nothing by more rows

# Logits (rows, V) and the row of each copy (n,) to the next token of each copy (n,).
Choose = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ReadText:
    """A text of T tokens that the model has read."""

    layers: Layers  # (1, heads, T, D)
    logits: Tensor  # (T, V), of the token behind each
    log_probability: Tensor  # (T - 1,) float32, of each token but the first, at temperature 1

    def prefix(self, length: int) -> Prefix:
        """Its first tokens, 1 to T; keys and values are views."""
        # A copy, since the logits of all positions can be larger than the model.
        return Prefix(self.layers, length, self.logits[length - 1].clone())


@torch.no_grad()
def read_prefix(model: nn.Module, ids: Sequence[int]) -> Prefix:
    """Run a text once, to go on from its end; logits of its last position only."""
    decoder = find_decoder(model)
    text = torch.tensor([list(ids)], device=device_of(decoder))
    config = text_config(model)
    plain = keeps_plain_cache(config)
    takes_cache = "past_key_values" in inspect.signature(model.forward).parameters
    if keeps_own_state(config) or not takes_cache:
        raise AttentionCaptureError(
            f"{type(model).__name__} does not keep what it has read in a cache of transformers, so that it "
            "cannot go on from there; use another model"
        )
    cache = cache_of([], 1) if plain else DynamicCache(config=decoder.config)
    logits = model(text, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
    if plain:
        return Prefix(layers_of(cache), len(ids), logits[0, -1])
    return Prefix([], len(ids), logits[0, -1], cache)


@torch.no_grad()
def read_text(model: nn.Module, ids: Sequence[int]) -> ReadText:
    """Run a text once, for all of its prefixes.

    Raises AttentionCaptureError for a model that keeps no state of each of them.
    """
    if not keeps_plain_cache(text_config(model)):
        raise AttentionCaptureError(
            f"{type(model).__name__} does not keep keys and values of all tokens in each layer, so that a "
            "text cannot be continued from within; use a model with softmax attention alone"
        )
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
        return lambda logits, rows: logits.argmax(-1)[rows]

    def choose(logits: Tensor, rows: Tensor) -> Tensor:
        exact = logits.device.type != "mps"  # which has no float64
        home = logits.device if exact else torch.device("cpu")
        dtype = torch.float64 if exact else torch.float32
        uniform = torch.rand(len(rows), dtype=dtype, device=logits.device, generator=generator)
        uniform, index = uniform.to(home).double(), rows.to(home)
        tokens = torch.zeros_like(index)
        # In parts: the probabilities of all rows can be larger than the model.
        step = max(1, PROBABILITIES_AT_ONCE // logits.shape[1])
        for start in range(0, len(logits), step):
            part = logits[start : start + step].to(home).float()
            part = (part if temperature == 1 else part / temperature).softmax(-1)
            inside = ((index >= start) & (index < start + step)).nonzero()[:, 0]
            tokens[inside] = draw(part, index[inside] - start, uniform[inside])
        return tokens.to(rows.device)

    return choose


def draw(probabilities: Tensor, rows: Tensor, uniform: Tensor) -> Tensor:
    """Tokens by inversion: the first whose cumulative probability in its row is above `uniform`, (n,).

    In two stages, by sums of blocks of tokens and then inside one block, so that float64 is needed for a few
    numbers only. One sorted search serves any number of draws from a row.

    probabilities: (R, V), rows need not sum to 1 exactly. rows: (n,), the row of each draw. uniform: (n,)
    float64, of [0, 1).
    """
    behind = -probabilities.shape[1] % BLOCK
    padded = nn.functional.pad(probabilities, (0, behind)) if behind else probabilities
    blocks = padded.view(len(padded), -1, BLOCK)  # (R, B, BLOCK)
    sums = blocks.sum(-1).double()
    below = sums.cumsum(-1)
    total = below[:, -1:].clone()
    # Sorted as a whole: a row's sums lie between its number and the next.
    shifted = below / total + torch.arange(len(below), device=below.device)[:, None]
    # Closer to 1 than that, rounding would carry the sum into the next row.
    target = uniform.clamp(max=1 - EDGE)
    index = torch.searchsorted(shifted.view(-1), rows + target, right=True)
    block = (index - rows * below.shape[1]).clamp(0, below.shape[1] - 1)
    inside = blocks[rows, block].double().cumsum(-1)  # (n, BLOCK)
    before = below[rows, block] - sums[rows, block]
    # Within the block whatever was rounded: neither in front of its first token nor behind its last.
    left = (target * total[rows, 0] - before).clamp(min=0).minimum(inside[:, -1] * (1 - EDGE))
    return block * BLOCK + (inside <= left[:, None]).sum(-1)


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
    limit has no end-of-text token. The order in which `choose` sees the copies depends only on the
    arguments, so that a seeded generator gives the same tokens again. Prefixes with a cache of their own
    go on one after another.
    """
    if len(prefixes) > 1 and prefixes[0].cache is not None:
        alone = partial(continue_prefixes, model, copies=copies, ends=ends, choose=choose)
        each = zip(prefixes, limits, strict=True)
        return [row for prefix, limit in each for row in alone([prefix], limits=[limit])]
    device = prefixes[0].logits.device
    stops = torch.tensor(sorted(ends), device=device)
    every = torch.arange(len(prefixes), device=device).repeat_interleave(copies)
    limit = torch.tensor(list(limits), device=device)[every]
    copy = (limit > 0).nonzero()[:, 0]
    row = every[copy]
    logits = torch.stack([prefix.logits for prefix in prefixes])
    drawn: list[tuple[Tensor, Tensor]] = []  # copies and their tokens, step by step
    with growing_texts(model, prefixes, max(limits, default=0)) as texts:
        for step in range(max(limits, default=0)):
            tokens = choose(logits, row)
            drawn.append((copy, tokens))
            active = ~torch.isin(tokens, stops) & (step + 1 < limit[copy])
            copy, row, tokens = copy[active], row[active], tokens[active]
            if not len(copy):
                break
            row, logits = texts.grow(row, tokens)
    return _by_copy(drawn, len(every))


def continue_in_parts(
    model: nn.Module,
    prefixes: Sequence[Prefix],
    *,
    copies: int,
    limits: Sequence[int],
    ends: Collection[int],
    temperature: float,
    seed: int,
) -> list[list[int]]:
    """`continue_prefixes` for as many prefixes at a time as fit into memory, drawn with a seed.

    Prefixes of a length go together: attention reads every row as far as the longest of them.
    """
    generator = torch.Generator(prefixes[0].logits.device).manual_seed(seed)
    order = sorted(range(len(prefixes)), key=lambda number: prefixes[number].length)
    rows: list[list[int]] = [[] for _ in range(copies * len(prefixes))]
    for part in _parts([prefixes[i] for i in order], [limits[i] for i in order], copies):
        numbers = order[part]
        drawn = continue_prefixes(
            model,
            [prefixes[i] for i in numbers],
            copies=copies,
            limits=[limits[i] for i in numbers],
            ends=ends,
            choose=sampled(temperature, generator),
        )
        for index, number in enumerate(numbers):
            rows[copies * number : copies * (number + 1)] = drawn[copies * index :][:copies]
    return rows


def _parts(prefixes: Sequence[Prefix], limits: Sequence[int], copies: int) -> Iterator[slice]:
    """Ranges of prefixes that go on together.

    Depends on the settings only, so that a seed gives the same continuations on every machine.
    """
    numbers_per_token = sum(2 * keys[0, :, 0].numel() for keys, _ in prefixes[0].text)
    longest = max(p.length + limit for p, limit in zip(prefixes, limits, strict=True))
    rows = max(1, min(MOST_ROWS, NUMBERS // max(1, numbers_per_token * longest)))
    step = max(1, rows // copies)
    for start in range(0, len(prefixes), step):
        yield slice(start, start + step)


def _by_copy(drawn: list[tuple[Tensor, Tensor]], count: int) -> list[list[int]]:
    """Tokens of each copy, out of steps that hold the copies still active."""
    tokens: list[list[int]] = [[] for _ in range(count)]
    for copies, step in drawn:
        for copy, token in zip(copies.tolist(), step.tolist(), strict=True):
            tokens[copy].append(token)
    return tokens

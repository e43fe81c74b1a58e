"""Texts that grow by a token a step, each distinct one once, however many copies of it were drawn."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn
from transformers import Cache

from flowtracer.models.cache import Layers, RoomyLayer, cache_of, joined
from flowtracer.models.decoder import find_decoder
from flowtracer.models.shared_text import attending_to, can_share
from flowtracer.models.swap import evaluating

TOKENS = 1 << 32  # more than any vocabulary has
MOST_SHARED = 4  # texts, our choice: rows compute scores of all of them, seen or not
COMPACT = 0.75  # our choice: copying the cache pays off once a quarter of its rows is finished


@dataclass(frozen=True)
class Prefix:
    """A text that the model has read, ready to go on from."""

    text: Layers  # of each layer keys and values of a text that begins with it, (1, heads, T, D)
    length: int  # its number of tokens, 1 to T
    logits: Tensor  # (V,), of the next token
    cache: Cache | None = None  # in place of `text`, where a model keeps more than keys and values

    @property
    def layers(self) -> Layers:
        """Of each layer its own keys and values, (1, heads, length, D); views."""
        return [
            (keys[:, :, : self.length], values[:, :, : self.length]) for keys, values in self.text
        ]


@dataclass
class Texts:
    """Distinct texts, a row each. They begin as the prefixes."""

    model: nn.Module
    cache: Cache  # of the rows' tokens; without those of the prefixes if these share texts
    lengths: Tensor  # (P,), tokens of each prefix
    mask: Tensor | None  # (P, columns), which columns of a row of each prefix are tokens; None: all
    width: int  # columns of the cache at the beginning
    prefix: Tensor  # (rows,), which prefix each continues
    steps: int = 0

    @property
    def seen(self) -> Tensor:
        """Length of each row's prefix, (rows,)."""
        return self.lengths[self.prefix]

    def grow(self, row: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Put a token behind each copy and run what is new, (n,) and (rows, V).

        row: (n,), the row of each copy. token: (n,). Returns each copy's row from now on, and logits of
        the rows. Copies of one row with the same token stay one row; rows without a copy are given up.
        """
        pairs, child = torch.unique(row * TOKENS + token, return_inverse=True)
        parent = pairs // TOKENS
        row_of_child, rows = rows_of_children(parent, len(self.prefix))
        moved = row_of_child != parent
        self._copy(parent[moved], row_of_child[moved], rows)
        if len(pairs) < COMPACT * rows:
            row_of_child = self._compact(row_of_child)
        tokens = torch.zeros_like(self.prefix)
        tokens[row_of_child] = pairs % TOKENS
        return row_of_child[child], self._run(tokens)

    def _copy(self, sources: Tensor, targets: Tensor, rows: int) -> None:
        if not len(sources):
            return
        roomy = [layer for layer in self.cache.layers if isinstance(layer, RoomyLayer)]
        for layer in roomy:
            layer.copy_rows(sources, targets, rows)
        if len(roomy) < len(self.cache.layers):  # transformers' own cache
            order = torch.arange(rows, device=sources.device)
            order[targets] = sources
            self.cache.reorder_cache(cast(torch.LongTensor, order))
        origin = self.prefix[sources]
        self.prefix = torch.cat([self.prefix, self.prefix.new_zeros(rows - len(self.prefix))])
        self.prefix[targets] = origin

    def _compact(self, used: Tensor) -> Tensor:
        """Keep the used rows; returns where each went."""
        kept = used.sort().values
        if self.cache.get_seq_length():
            self.cache.reorder_cache(cast(torch.LongTensor, kept))
        self.prefix = self.prefix[kept]
        return torch.searchsorted(kept, used)

    def _run(self, tokens: Tensor) -> Tensor:
        mask = None
        if self.mask is not None:
            mask = self.mask[self.prefix][:, : self.width + self.steps + 1]
        positions = self.seen + self.steps
        self.steps += 1
        output = self.model(
            tokens[:, None],
            past_key_values=self.cache,
            attention_mask=mask,
            position_ids=positions[:, None],
            use_cache=True,
        )
        logits: Tensor = output.logits[:, -1]
        return logits


def one_text(prefixes: Sequence[Prefix]) -> tuple[Layers, Tensor]:
    """The texts of the prefixes behind each other, as far as they are needed, T tokens in all.

    Returns keys and values of each layer, (1, heads, T, D), and which tokens are no part of each prefix,
    (P, T).
    """
    texts = {id(prefix.text): prefix.text for prefix in prefixes}
    width = dict.fromkeys(texts, 0)
    for prefix in prefixes:
        width[id(prefix.text)] = max(width[id(prefix.text)], prefix.length)
    begin = dict(zip(width, accumulate(width.values(), initial=0), strict=False))
    columns = torch.arange(sum(width.values()), device=prefixes[0].logits.device)
    first = columns.new_tensor([begin[id(prefix.text)] for prefix in prefixes])[:, None]
    lengths = columns.new_tensor([prefix.length for prefix in prefixes])[:, None]
    layers = [
        tuple(
            torch.cat(
                [states[:, :, : width[key]] for key, states in zip(texts, parts, strict=True)], 2
            )
            for parts in zip(*of_texts, strict=True)
        )
        for of_texts in zip(*texts.values(), strict=True)
    ]
    return cast(Layers, layers), (columns < first) | (columns >= first + lengths)


def rows_of_children(parent: Tensor, rows: int) -> tuple[Tensor, int]:
    """Where the children of rows go, (n,), and how many rows there are then.

    The first child of a row stays in it, the others take rows without children, then new ones, so that
    only they have to be copied. parent: (n,), sorted.
    """
    first = torch.ones_like(parent, dtype=torch.bool)
    first[1:] = parent[1:] != parent[:-1]
    others = (~first).nonzero()[:, 0]
    free = torch.ones(rows, dtype=torch.bool, device=parent.device)
    free[parent] = False
    unused = free.nonzero()[:, 0]
    after = rows + max(0, len(others) - len(unused))
    target = parent.clone()
    fresh = torch.arange(rows, after, device=parent.device)
    target[others] = torch.cat([unused, fresh])[: len(others)]
    return target, after


@contextmanager
def growing_texts(model: nn.Module, prefixes: Sequence[Prefix], steps: int) -> Iterator[Texts]:
    """Rows that begin as the prefixes, for at most so many steps.

    Prefixes of a few texts share their keys and values where the model's attention allows it; others are
    copied into the cache, padded on the left. A prefix with a cache of its own is taken alone.
    """
    decoder = find_decoder(model)
    device = prefixes[0].logits.device
    lengths = torch.tensor([prefix.length for prefix in prefixes], device=device)
    rows = torch.arange(len(prefixes), device=device)
    if prefixes[0].cache is not None:
        with evaluating(model):
            cache = copy.deepcopy(prefixes[0].cache)
            yield Texts(model, cache, lengths, None, prefixes[0].length, rows)
        return
    longest = max(prefix.length for prefix in prefixes)
    shared = {id(prefix.text) for prefix in prefixes}
    if len(shared) <= MOST_SHARED and can_share(decoder, longest + steps):
        text, hidden = one_text(prefixes)
        cache = cache_of([], 0)
        texts = Texts(model, cache, lengths, None, 0, rows)
        with attending_to(decoder, text, cache, lambda: hidden[texts.prefix]):
            yield texts
        return
    gap = torch.arange(longest, device=device) < (longest - lengths)[:, None]
    mask = nn.functional.pad((~gap).long(), (0, steps), value=1) if bool(gap.any()) else None
    layers = [joined(parts) for parts in zip(*(prefix.layers for prefix in prefixes), strict=True)]
    with evaluating(model):
        yield Texts(model, cache_of(layers, len(rows)), lengths, mask, longest, rows)

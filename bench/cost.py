"""What credit costs on a GPU, by counting products, bytes, exponentials and launches.

Nothing is run. `forward`, `riding`, `own_pass` and `strips` give the work of one call of the model on some
texts, in parts; bench/cost_rates.py turns it into seconds, and bench/cost_tables.py prints the tables.
"""

import math
from dataclasses import dataclass, replace

from cost_rates import Device, Parts, Work

QUERIES, KEYS = 64, 128  # a tile of the sum over heads, `tile_of` in kernels/head_sum.py
LOGSUMEXP_QUERIES, LOGSUMEXP_KEYS = 64, 64
STRIP = 1024  # rows, BLOCK_ON_GPU of flow/solve.py
FEW, SHORT = 8, 1024  # from so many texts, or up to so many tokens, one kernel does both solves
DENSE_RATIO = 1 / 16  # of free memory, attention/memory.py
TOKENS = 32_768  # of one call of the model, as measured by bench/gpu.py

FORWARD_LAUNCHES = 28  # once a forward: embedding, rotary angles, last norm
READER_LAUNCHES = 29  # once a reader of attention: where sequences stand, the zeros of T x T
FLOW_LAUNCHES = 40  # once a flow, beside the solves: its right-hand sides and checks
PYTORCH_FLOW_LAUNCHES = 54  # the same where PyTorch solves
PYTORCH_SOLVES = 23  # launches of a block of STRIP rows in both solves


@dataclass(frozen=True)
class Shape:
    """A decoder-only model like Qwen3, in bfloat16."""

    name: str
    layers: int
    hidden: int
    mlp: int
    heads: int
    key_heads: int
    width: int  # of a head
    vocabulary: int

    @property
    def queries(self) -> int:
        return self.heads * self.width

    @property
    def keys(self) -> int:
        return self.key_heads * self.width

    @property
    def layer_weights(self) -> int:
        return self.hidden * (2 * self.queries + 2 * self.keys + 3 * self.mlp)

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_weights + self.vocabulary * self.hidden

    @property
    def chosen(self) -> int:
        """Layers that are averaged, section 3.3 of the paper."""
        return 2 * self.layers // 3 - self.layers // 3

    @property
    def whole(self) -> int:
        """Layers that a pass of its own runs to their end; of one more it needs queries and keys."""
        return 2 * self.layers // 3 - 1


def pairs_in_tiles(length: int, queries: int = QUERIES, keys: int = KEYS) -> int:
    """Pairs of a query and a key in the tiles that touch the lower triangle of T x T, inside of it."""
    total = 0
    for start in range(0, length, queries):
        stop = min(start + queries, length)
        total += (stop - start) * min(length, math.ceil((start + queries) / keys) * keys)
    return total


def read_again(model: Shape, length: int, device: Device, rows: int) -> float:
    """Bytes of a layer's keys, which every row of tiles reads: from memory if the cache cannot hold them."""
    size = 2.0 * model.keys * length
    return size if size <= device.cache else size * math.ceil(length / rows) / 2


def forward(
    model: Shape, texts: int, length: int, *, logits: bool = False, layers: int | None = None
) -> Parts:
    """A forward pass by transformers, without padding. logits: of every token, else of the last ones.

    layers: how many run; None: all, and the head.
    """
    count = model.layers if layers is None else layers
    tokens = texts * length
    states = 6 * model.hidden + 2 * model.queries + 2 * model.keys + 3 * model.mlp  # in and out
    matrices = Work(
        products=2.0 * model.layer_weights * tokens,
        bytes=2.0 * (model.layer_weights + states * tokens),
        launches=7,
    )
    rotated = model.queries + model.keys
    elementwise = Work(
        # The norms of a layer take eight kernels each, in float32; rotation five for queries and for keys.
        bytes=float(
            tokens
            * (
                36 * (2 * model.hidden + rotated)
                + 20 * rotated
                + 12 * model.hidden
                + 10 * model.mlp
            )
        ),
        launches=4 * 8 + 2 * 5 + 2 + 2,
    )
    parts = {
        "matrices": matrices.times(count),
        "norms, rotation, activation": elementwise.times(count),
        "attention": attention(model, texts, length).times(count),
        "around the layers": Work(bytes=42.0 * model.hidden * tokens, launches=FORWARD_LAUNCHES),
    }
    if layers is None:
        scored = tokens if logits else texts
        head = model.vocabulary * model.hidden
        parts["logits"] = Work(
            2.0 * head * scored, 2.0 * (head + model.vocabulary * scored), launches=1
        )
    return parts


def attention(model: Shape, texts: int, length: int) -> Work:
    """Of one layer, by PyTorch's kernel, which gives the logsumexp too."""
    pairs = length**2 / 2
    return Work(
        products=4.0 * model.queries * pairs,
        bytes=2.0 * (2 * model.queries + 2 * model.keys) * length,
        exponentials=model.heads * pairs,
        launches=1,
        rate="attention",
    ).each(texts)


def head_sum(model: Shape, texts: int, length: int, device: Device) -> Work:
    """Of one layer: every tile of the result is read and written once, for all heads."""
    pairs = pairs_in_tiles(length)
    states = (2.0 * model.queries + 4 * model.heads) * length
    return Work(
        products=2.0 * model.queries * pairs,
        bytes=8.0 * pairs + states + read_again(model, length, device, QUERIES),
        exponentials=float(model.heads * pairs),
        launches=1,
        rate="head_sum",
    ).each(texts)


def logsumexp(model: Shape, texts: int, length: int, device: Device) -> Work:
    """Of one layer, where PyTorch's attention does not give it: with a mask, and of the last layer."""
    pairs = pairs_in_tiles(length, LOGSUMEXP_QUERIES, LOGSUMEXP_KEYS)
    states = (2.0 * model.queries + 8 * model.heads) * length
    return Work(
        products=2.0 * model.queries * pairs,
        bytes=states + read_again(model, length, device, LOGSUMEXP_QUERIES),
        exponentials=float(model.heads * pairs),
        launches=1,
        rate="logsumexp",
    ).each(texts)


def solves(texts: int, length: int) -> Parts:
    """Both solves of a dense result: by one kernel where that is faster, else by PyTorch in float64."""
    if texts < FEW and length > SHORT:
        return pytorch_solves(texts, length)
    both = Work(4 * (length**2 / 2), 8 * (length**2 / 2), launches=1, steps=2 * length)
    flow = Work(bytes=300.0 * texts * length, launches=FLOW_LAUNCHES)
    return {"solves": both.each(texts), "flow": flow}


def pytorch_solves(texts: int, length: int, rows: int = STRIP) -> Parts:
    """Each solve reads the result, writes it in float64 and reads that, so many rows at a time."""
    blocks = math.ceil(length / rows)
    both = Work(4 * (length**2 / 2), 40 * (length**2 / 2), launches=float(PYTORCH_SOLVES * blocks))
    flow = Work(bytes=300.0 * texts * length, launches=PYTORCH_FLOW_LAUNCHES)
    return {"solves": both.each(texts), "flow": flow}


def riding(model: Shape, texts: int, length: int, device: Device, *, padded: bool = False) -> Parts:
    """Credit out of a forward that runs anyway. padded: with a mask, so that no logsumexp is given."""
    result = 4.0 * texts * length**2
    parts = {
        "sum over heads": head_sum(model, texts, length, device).times(model.chosen),
        "result": Work(bytes=result, launches=READER_LAUNCHES),
    }
    if padded:
        parts["logsumexp"] = logsumexp(model, texts, length, device).times(model.chosen)
        parts["clearing padding"] = Work(bytes=4 * result, launches=2)
    return parts | solves(texts, length)


def own_pass(model: Shape, texts: int, length: int, device: Device) -> Parts:
    """A truncated pass of its own, without padding, and both solves of its dense result."""
    return (
        truncated(model, texts, length)
        | {"logsumexp": logsumexp(model, texts, length, device)}
        | riding(model, texts, length, device)
    )


def strips(model: Shape, length: int, device: Device) -> Parts:
    """One long text whose result is never held: its rows are computed again for each solve."""
    blocks = 2 * math.ceil(length / STRIP)
    sums = head_sum(model, 1, length, device).times(2 * model.chosen)
    parts = {
        "logsumexp": logsumexp(model, 1, length, device),
        "kept queries and keys": Work(
            bytes=4.0 * model.chosen * (2 * model.queries + model.keys) * length,
            launches=3.0 * model.chosen,
        ),
        "sum over heads": replace(sums, launches=float(blocks * model.chosen)),
        "result": Work(bytes=2 * 12 * (length**2 / 2), launches=10.0 * blocks),
    }
    return truncated(model, 1, length) | parts | pytorch_solves(1, length)


def truncated(model: Shape, texts: int, length: int) -> Parts:
    """The layers below the last chosen one, and of that one what comes before its attention."""
    tokens = texts * length
    heads = model.queries + 2 * model.keys
    last = Work(
        products=2.0 * model.hidden * heads * tokens,
        bytes=2.0 * (model.hidden * heads + (3 * model.hidden + heads) * tokens)
        + 36.0 * tokens * model.hidden
        + 56.0 * tokens * (model.queries + model.keys),
        launches=3 + 3 * 8 + 2 * 5,
    )
    return forward(model, texts, length, layers=model.whole) | {
        "queries and keys of the last": last
    }


def update(model: Shape, texts: int, length: int) -> Parts:
    """Forward, the same again for the backward pass, and backward, which is two forwards' worth."""
    return {
        name: work.times(4) for name, work in forward(model, texts, length, logits=True).items()
    }


def fits_dense(model: Shape, length: int, device: Device) -> bool:
    """Whether a text is held as T x T, with nothing but the model's weights in memory."""
    return 4.0 * length**2 <= DENSE_RATIO * (device.memory - 2 * model.parameters)


def kept_bytes(model: Shape, texts: int, length: int, *, dense: bool) -> float:
    """Beside a forward's own memory: the results, or the chosen layers' queries, keys and logsumexp."""
    if dense:
        return 4.0 * texts * length**2
    states = 2 * (model.queries + model.keys) + 4 * model.heads
    return model.chosen * states * length + 20.0 * STRIP * length

"""Credit out of forward passes that run anyway, for the price of averaging heads and of the flow.

A training step runs every row through the policy with gradients. `RiddenCredit` observes that pass,
keeps the mean attention of the rows that matter, and scores them when its last chosen layer is seen.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowtracer.attention import (
    LayerCall,
    MeanReader,
    model_layers,
    needs_tiles,
    observe_layers,
    why_not_observed,
)
from flowtracer.attention.memory import available_bytes
from flowtracer.credit.chunks import ScoreChunk, chunks
from flowtracer.credit.credit import Credit, TokenCredit, credit_of_scores
from flowtracer.credit.limits import CHUNK, CHUNK_ON_GPU
from flowtracer.credit.spans import find_spans, pass_columns
from flowtracer.kernels.availability import kernels_run
from flowtracer.models.decoder import device_of, find_decoder, is_sharded
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.scorer import Evidence
from flowtracer.scorers.table import find_scorer, score_evidence

MEMORY_RATIO = 1 / 4  # of free memory that the attention of a forward's rows may take, our choice


def why_not_ridden(model: nn.Module, credit: Credit) -> str | None:
    """Why credit cannot be read from a forward pass of the model's own, in a few words; None: it can."""
    if find_scorer(credit.scorer).needs != {"attention"}:
        return f"scorer {credit.scorer!r} reads more than mean attention, or nothing"
    if credit.options.heads != "all":
        return f"heads {credit.options.heads!r} are chosen after a pass that looks at all"
    if credit.options.edges == "value" and is_sharded(model):
        return "edges 'value' need output projections, and the model is sharded"
    return why_not_observed(model)


def fits(model: nn.Module, credit: Credit, rows: int, length: int) -> bool:
    """Whether the attention of `rows` rows of one forward, `length` tokens long, fits into memory at once.

    A pass of its own holds a chunk of them at a time, or reads a single text in tiles.
    """
    if needs_tiles(model, length, credit.options.tile_above):
        return False
    available = available_bytes(device_of(find_decoder(model)))
    return available is None or 4 * rows * length**2 <= MEMORY_RATIO * available


@dataclass(frozen=True)
class _Chunk:
    """Rows of a forward pass whose attention is added up together."""

    rows: Tensor  # (R,) of the complete batch
    columns: slice
    taken: Tensor | slice  # the same rows of the forward pass
    seen: slice  # the same columns of the forward pass
    batch: ScoreBatch
    reader: MeanReader


class RiddenCredit:
    """Scores of a batch's rows from the forward passes within `observing`, and the credit they give.

    The rows may go through the model in one pass or in parts; columns on the right that hold padding
    only may be left out. Or they are found by their tokens, wherever the passes have them, several to a
    row too. `seconds` is what was spent here.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: ScoreBatch,
        credit: Credit,
        *,
        row_mask: Tensor | None = None,
        rows_of_pass: Callable[[], Tensor | None] = lambda: None,
        by_tokens: bool = False,
    ) -> None:
        """row_mask: see `token_credit`. rows_of_pass: called in each forward pass for the rows (R,) of the
        batch that run in it; None for all of them. by_tokens: whether rows are found by `find_spans`.
        """
        self.batch = batch
        self.row_mask = row_mask
        self.seconds = 0.0
        self._model = model
        self._credit = credit
        self._rows_of_pass = rows_of_pass
        self._by_tokens = by_tokens
        self._inputs: dict[str, Any] = {}  # of the pass that runs
        self._layers = model_layers(model, credit.options.layers)
        self._missing = batch.scorable if row_mask is None else batch.scorable & row_mask
        self._scores = torch.zeros(
            batch.input_ids.shape, dtype=torch.float32, device=batch.input_ids.device
        )
        self._chunks: list[_Chunk] = []  # of the pass that runs

    @contextmanager
    def observing(self) -> Iterator[None]:
        """A block whose forward passes are observed; nothing is done where no row matters."""
        if self.complete:
            yield
            return

        def keep(module: nn.Module, args: object, inputs: dict[str, Any]) -> None:
            self._inputs = inputs

        hook = find_decoder(self._model).register_forward_pre_hook(keep, with_kwargs=True)
        try:
            with observe_layers(self._model, self._layers, self._observe):
                yield
        finally:
            hook.remove()
            self._inputs = {}

    @property
    def complete(self) -> bool:
        """Whether all rows that matter were seen."""
        return not bool(self._missing.any())

    def credit(self) -> TokenCredit:
        """`token_credit` of the batch. Every row must have been seen, see `complete`."""
        start = time.perf_counter()
        result = credit_of_scores(self._scores, self.batch, self._credit, row_mask=self.row_mask)
        self.seconds += time.perf_counter() - start
        return result

    def _observe(self, call: LayerCall) -> None:
        start = time.perf_counter()
        if call.layer == self._layers[0]:
            self._chunks = self._begin_spans() if self._by_tokens else self._begin(call)
        for chunk in self._chunks:
            chunk.reader.read_layer(call.take(chunk.taken, chunk.seen))
        if call.layer == self._layers[-1]:
            for chunk in self._chunks:
                self._score(chunk)
            self._chunks = []
        self.seconds += time.perf_counter() - start

    def _begin(self, call: LayerCall) -> list[_Chunk]:
        """The rows of this pass that matter, in chunks of like length up to the last column needed."""
        count, length = call.query.shape[0], call.query.shape[2]
        rows = self._rows_of_pass()
        device = self.batch.input_ids.device
        rows = torch.arange(len(self._missing), device=device) if rows is None else rows.to(device)
        if len(rows) != count or length > self.batch.input_ids.shape[1]:
            return []  # not a pass of the batch
        batch = self.batch.take(rows, slice(length))
        result = []
        for part in self._parts(batch, self._missing[rows].nonzero()[:, 0]):
            taken = part.rows.sort().values
            result += self._chunk(rows[taken], part.columns, as_slice(taken), part.columns)
        return result

    def _begin_spans(self) -> list[_Chunk]:
        """The rows that matter, one by one, where this pass has them."""
        result = []
        for span in find_spans(self._inputs, self.batch):
            row = torch.tensor([span.row], device=self._missing.device)
            if self._missing[span.row]:
                (part,) = self._parts(self.batch, row)
                real = self.batch.attention_mask[span.row] > 0
                taken = slice(span.pass_row, span.pass_row + 1)
                seen = pass_columns(span, part.columns, real)
                result += self._chunk(row, part.columns, taken, seen)
        return result

    def _parts(self, batch: ScoreBatch, rows: Tensor) -> list[ScoreChunk]:
        after_answer = find_scorer(self._credit.scorer).after_answer
        most = CHUNK_ON_GPU if kernels_run(batch.input_ids.device) else CHUNK
        return chunks(batch, rows, after_answer=after_answer, most=most)

    def _chunk(
        self, rows: Tensor, columns: slice, taken: Tensor | slice, seen: slice
    ) -> list[_Chunk]:
        """One chunk, or none if its attention does not fit into memory: its rows stay unseen."""
        batch = self.batch.take(rows, columns)
        edges = self._credit.options.edges
        try:
            reader = MeanReader(batch.attention_mask, self._layers, edges=edges)
        except ValueError:
            return []
        return [_Chunk(rows, columns, taken, seen, batch, reader)]

    def _score(self, chunk: _Chunk) -> None:
        evidence = Evidence(chunk.batch, attention=chunk.reader.finish(), layers=self._layers)
        scores = score_evidence(evidence, self._credit.scorer, self._credit.options)
        self._scores[chunk.rows, chunk.columns] = scores.to(self._scores)
        self._missing[chunk.rows] = False


def as_slice(rows: Tensor) -> Tensor | slice:
    """Ascending indices (R,) as a slice where none is left out, so that nothing has to be copied."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows

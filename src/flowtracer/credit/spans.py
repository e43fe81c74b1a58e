"""Where the sequences of a batch are in a forward pass that packs or orders them in its own way.

Engines for training cut a batch into micro-batches of their own, and put several sequences into one
row with positions that begin anew. Sequences are found by their tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowtracer.scorers.batch import ScoreBatch


@dataclass(frozen=True)
class Span:
    """A row of the batch in a forward pass: the pass's row, and the column where the row begins there."""

    row: int
    pass_row: int
    start: int


def find_spans(inputs: Mapping[str, Any], batch: ScoreBatch) -> list[Span]:
    """The batch's rows among the inputs of a forward pass; a row that is there twice is named once.

    inputs: what the stack of layers is called with, `input_ids` (R, T) and either an `attention_mask`
    (R, T) or `position_ids` (R, T) that begin at 0 with each sequence.
    """
    ids = inputs.get("input_ids")
    if not isinstance(ids, Tensor):
        return []
    rows: dict[tuple[int, ...], list[int]] = {}
    real = (batch.attention_mask > 0).cpu()
    for row, tokens in enumerate(batch.input_ids.cpu()):
        rows.setdefault(tuple(tokens[real[row]].tolist()), []).append(row)
    spans = []
    tokens = ids.cpu()
    for pass_row, start, stop in _segments(tokens, inputs):
        same = rows.get(tuple(tokens[pass_row, start:stop].tolist()))
        if same:
            spans.append(Span(same.pop(0), pass_row, start))
    return spans


def _segments(ids: Tensor, inputs: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """Row, first column and end of each stretch of tokens that may be a sequence."""
    mask, positions = inputs.get("attention_mask"), inputs.get("position_ids")
    length = ids.shape[1]
    segments = []
    for row in range(len(ids)):
        if isinstance(mask, Tensor) and mask.ndim == 2:
            columns = mask[row].cpu().nonzero()[:, 0].tolist()
            if columns:
                segments.append((row, columns[0], columns[-1] + 1))
            continue
        starts = [0]
        if isinstance(positions, Tensor) and positions.ndim == 2:
            of_row = positions[row if len(positions) > 1 else 0]
            starts = sorted({0, *(of_row == 0).cpu().nonzero()[:, 0].tolist()})
        ends = [*starts[1:], length]
        segments += [(row, start, stop) for start, stop in zip(starts, ends, strict=True)]
    return segments


def pass_columns(span: Span, columns: slice, real: Tensor) -> slice:
    """Columns of the pass that hold these columns of the batch.

    columns: of the batch, beginning with the row's first real token. real: (T,) bool, of the row.
    """
    offset = span.start - int(torch.argmax(real.int()))
    return slice(columns.start + offset, columns.stop + offset)

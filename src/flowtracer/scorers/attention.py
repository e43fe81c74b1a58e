"""Scores from the same averaged attention as the flow, without its potential.

`attention[b, k, t]` is how much token k attends to token t.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from flowtracer.scorers.scorer import Evidence, ScoreOptions

BLOCK = 512  # rows of the matrix at a time, our choice: T x T is not stored twice


def attention_max(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """`max over k > t, k in the response, of attention[k, t]`, (B, T).

    The paper describes its attention baseline as "using maximum attention scores" and nothing more;
    its printed numbers are those of `waad` (table 2) and `fai` (table 3) in another paper. Our choices:
    the maximum over later response tokens, of the same averaged matrix as the flow.
    """
    assert evidence.attention is not None
    strongest = torch.zeros_like(evidence.attention[:, 0])
    for rows, strip in strips_below_diagonal(evidence.attention):
        strip = strip.masked_fill(~evidence.batch.candidates[:, rows, None], 0.0)
        strongest = torch.maximum(strongest, strip.amax(1))
    return strongest


def answer_attention(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """`sum over answer tokens k of w_k attention[k, t] / sum of w_k`, (B, T).

    One hop of what the flow follows over all paths; a control of ours. An answer token's attention to
    itself counts as any other (our choice). A row without answer scores 0.
    """
    assert evidence.attention is not None
    weights = _normalised(evidence.batch.answer).to(evidence.attention)
    return (weights[:, None] @ evidence.attention)[:, 0]


def rollout(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """Attention rollout (Abnar and Zuidema 2020) of the answer, (B, T).

    `v <- v (0.5 A + 0.5 I)`, once per chosen layer, from the answer's normalised weights; A is the
    part of the matrix below its diagonal. The source multiplies each layer's own matrix, from the
    first layer to the last, with rows normalised. Our choices: the averaged matrix of the chosen
    layers in place of each, and rows as they are after the diagonal is dropped.
    """
    assert evidence.attention is not None
    weights = _normalised(evidence.batch.answer).to(evidence.attention)
    for _ in evidence.layers:
        passed = torch.zeros_like(weights)
        for rows, strip in strips_below_diagonal(evidence.attention):
            passed += (weights[:, None, rows] @ strip)[:, 0]
        weights = 0.5 * weights + 0.5 * passed
    return weights


def strips_below_diagonal(
    attention: Tensor, *, block: int = BLOCK
) -> Iterator[tuple[slice, Tensor]]:
    """Rows start..stop of (B, T, T) and their part below the diagonal, (B, stop - start, T)."""
    for start in range(0, attention.shape[1], block):
        rows = slice(start, start + block)
        yield rows, attention[:, rows].tril(start - 1)


def _normalised(answer: Tensor) -> Tensor:
    """Answer weights that sum to 1, or to 0 in a row without answer; (B, T)."""
    total = answer.sum(1, keepdim=True)
    return torch.where(total > 0, answer / total.clamp(min=torch.finfo(answer.dtype).tiny), 0.0)

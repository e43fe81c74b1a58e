"""Scores from the same averaged attention as the flow, without its potential.

`attention[b, k, t]` is how much token k looks at token t.
"""

import torch
from torch import Tensor

from flowtracer.scorers.scorer import Evidence, ScoreOptions

BLOCK = 512  # rows of the matrix at a time, our choice: T x T is not held twice


def attention_max(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """`max over k > t, k in the response, of attention[k, t]`, (B, T).

    The paper describes its attention baseline as "using maximum attention scores" and nothing more;
    its printed numbers are those of `waad` (table 2) and `fai` (table 3) in another paper. Our choices:
    the maximum over later response tokens, of the same averaged matrix as the flow.
    """
    assert evidence.attention is not None
    return strongest_look(evidence.attention, evidence.batch.candidates)


def answer_attention(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """`sum over answer tokens k of w_k attention[k, t] / sum of w_k`, (B, T).

    One hop of what the flow follows over all paths; a control of ours. An answer token's look at
    itself counts as any other (our choice). A row without answer scores 0.
    """
    assert evidence.attention is not None
    return look_of_answer(evidence.attention, evidence.batch.answer)


def rollout(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """Attention rollout (Abnar and Zuidema 2020) of the answer, (B, T).

    `v <- v (0.5 A + 0.5 I)`, once per chosen layer, from the answer's normalised weights; A is the
    part of the matrix below its diagonal. The source multiplies each layer's own matrix, from the
    first layer to the last, with rows normalised. Our choices: the averaged matrix of the chosen
    layers in place of each, and rows as they are after the diagonal is dropped.
    """
    assert evidence.attention is not None
    return roll_out(evidence.attention, evidence.batch.answer, len(evidence.layers))


def strongest_look(attention: Tensor, watchers: Tensor) -> Tensor:
    """The largest attention that any later watcher pays to a token.

    Shapes: attention (B, T, T), watchers (B, T) bool. Returns (B, T).
    """
    length = attention.shape[1]
    strongest = torch.zeros_like(attention[:, 0])
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        looks = attention[:, start:stop].tril(start - 1)
        looks = looks.masked_fill(~watchers[:, start:stop, None], 0.0)
        strongest = torch.maximum(strongest, looks.amax(1))
    return strongest


def look_of_answer(attention: Tensor, answer: Tensor) -> Tensor:
    """Mean attention of the answer, by its weights. Shapes: (B, T, T) and (B, T). Returns (B, T)."""
    return (_shares(answer).to(attention)[:, None] @ attention)[:, 0]


def roll_out(attention: Tensor, answer: Tensor, steps: int) -> Tensor:
    """The answer's weights, pushed `steps` times half back along attention to earlier tokens.

    Shapes: attention (B, T, T), answer (B, T). Returns (B, T).
    """
    held = _shares(answer).to(attention)
    for _ in range(steps):
        pushed = torch.zeros_like(held)
        for start in range(0, held.shape[1], BLOCK):
            looks = attention[:, start : start + BLOCK].tril(start - 1)
            pushed += (held[:, None, start : start + BLOCK] @ looks)[:, 0]
        held = 0.5 * held + 0.5 * pushed
    return held


def _shares(answer: Tensor) -> Tensor:
    """Answer weights that sum to 1, or to 0 in a row without answer; (B, T)."""
    total = answer.sum(1, keepdim=True)
    return torch.where(total > 0, answer / total.clamp(min=torch.finfo(answer.dtype).tiny), 0.0)

"""The score this project is about: throughput of answer-targeted flow."""

import torch
from torch import Tensor

from flowtracer.flow import send_flow
from flowtracer.scorers.scorer import Evidence, ScoreOptions


def flow(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """Throughput `tau = 2 h g` (equations 1 to 4 of the paper), (B, T); see `answer_flow`.

    A row whose attention is not finite, or in which nothing reaches the answer, scores 0.
    """
    batch = evidence.batch
    if evidence.tiles is not None:
        there = evidence.tiles.device  # the model's, where the batch need not be
        sent = send_flow(
            evidence.tiles,
            batch.question.to(there),
            batch.answer.to(there),
            answer_tokens=options.answer_tokens,
        )
        return sent.throughput.nan_to_num(nan=0.0, posinf=0.0).to(batch.answer.device)
    assert evidence.attention is not None
    attention = evidence.attention
    sound = attention.flatten(1).isfinite().all(1)
    if not bool(sound.all()):
        attention = torch.where(sound[:, None, None], attention, 0.0)
    sent = send_flow(attention, batch.question, batch.answer, answer_tokens=options.answer_tokens)
    return sent.throughput.nan_to_num(nan=0.0, posinf=0.0)

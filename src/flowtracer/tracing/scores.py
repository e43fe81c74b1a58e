"""Scores of a traced text by every scorer that needs no further pass through the model."""

import torch
from torch import Tensor

from flowtracer.flow.solve import AttentionRows
from flowtracer.regions import TokenizedText
from flowtracer.scorers import SCORERS, Evidence, ScoreOptions
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.table import score_evidence


def local_scorers(*, dense: bool) -> list[str]:
    """Scorers that need no more than the averaged attention, if it is dense; else nothing at all.

    Without "flow", which a trace has anyway.
    """
    evidence = frozenset({"attention"}) if dense else frozenset()
    return [name for name, scorer in SCORERS.items() if scorer.needs <= evidence and name != "flow"]


def local_scores(
    attention: Tensor | AttentionRows,
    batch: ScoreBatch,
    layers: tuple[int, ...],
    options: ScoreOptions,
) -> dict[str, Tensor]:
    """Scores (1, T) of one text by name; attention (1, T, T), or in tiles, which is not read.

    They are those of `score_tokens` for a text that ends with its answer: what comes later is not
    part of the attention.
    """
    matrix = attention if isinstance(attention, Tensor) else None
    if matrix is not None:
        batch = batch.to(matrix.device)
    evidence = Evidence(batch, attention=matrix, layers=layers)
    names = local_scorers(dense=matrix is not None)
    return {name: score_evidence(evidence, name, options).cpu() for name in names}


def text_batch(
    asked: TokenizedText, answered: TokenizedText, *, question: Tensor, answer: Tensor
) -> ScoreBatch:
    """Prompt and response as one row without padding; question and answer (T,), as in `answer_flow`."""
    ids = torch.tensor([[*asked.ids, *answered.ids]])
    words = [
        any(c.isalnum() for c in part.text[start:stop])
        for part in (asked, answered)
        for start, stop in part.offsets
    ]
    return ScoreBatch(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        question=question[None],
        candidates=torch.arange(ids.shape[1])[None] >= len(asked.ids),
        answer=answer[None],
        structural=~torch.tensor([words]),
    )

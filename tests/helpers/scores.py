"""Batches of random tokens to score, with padding and odd rows."""

import torch

from flowtracer.scorers.batch import ScoreBatch
from helpers.models import texts

PROMPT = 6


def batch_of(ids, mask=None):
    """Prompt, response and a weighted answer in it; positions count from each row's first token."""
    mask = torch.ones_like(ids) if mask is None else mask
    position = mask.cumsum(1) - 1
    real = mask > 0
    answer = torch.where(real & (position >= 10) & (position < 13), 1.0, 0.0)
    answer = torch.where(real & (position == 13), 0.5, answer)
    return ScoreBatch(
        input_ids=ids,
        attention_mask=mask,
        question=real & (position < PROMPT),
        candidates=real & (position >= PROMPT),
        answer=answer,
        structural=ids % 3 == 0,
    )


def padded(batch, left, right, filler=5):
    """The same rows with padding, whose tokens claim nothing."""
    moved = {
        name: torch.nn.functional.pad(getattr(batch, name), (left, right))
        for name in ("attention_mask", "question", "candidates", "answer", "structural")
    }
    ids = torch.nn.functional.pad(batch.input_ids, (left, right), value=filler)
    return ScoreBatch(input_ids=ids, **moved)


def long_batch():
    """Rows of 40 tokens: long enough for attention that looks 10 and more tokens ahead."""
    ids = torch.randint(3, 97, (3, 40), generator=torch.Generator().manual_seed(4))
    return batch_of(ids)


def alone(batch, row):
    return batch.take(torch.tensor([row]))


def stacked(batch, other):
    return ScoreBatch(
        **{
            name: torch.cat([getattr(batch, name), getattr(other, name)])
            for name in ScoreBatch.__dataclass_fields__
            if getattr(batch, name) is not None
        }
    )


def odd_rows():
    """Answer first of all, answer first in the response, one token, no answer, no response, one real."""
    batch = batch_of(texts("none")[0][:1].expand(6, -1).contiguous())
    answer, candidates = batch.answer.clone(), batch.candidates.clone()
    mask, question = batch.attention_mask.clone(), batch.question.clone()
    answer[:2] = 0
    answer[0, 0] = answer[1, PROMPT] = 1
    candidates[2] = False
    candidates[2, 12] = True
    answer[3] = 0
    candidates[4] = False
    mask[5, :-1] = 0
    question[5], candidates[5], answer[5] = False, mask[5] > 0, mask[5].float()
    return ScoreBatch(batch.input_ids, mask, question, candidates, answer, batch.structural)

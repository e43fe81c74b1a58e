"""The rows of a part as columns of Arrow, built from a batch and its credit without a Python list."""

from collections.abc import Sequence

import pyarrow
import torch
from torch import Tensor

from flowtracer.credit import ScoreBatch, TokenCredit, apply_credit
from flowtracer.rollouts.rollout import Rollout

# Lists have one entry for each token of prompt and response; docs/score.md describes the columns.
SCHEMA = pyarrow.schema(
    [
        pyarrow.field("row", pyarrow.int64(), nullable=False),
        pyarrow.field("id", pyarrow.string()),
        pyarrow.field("prompt_tokens", pyarrow.int32(), nullable=False),
        pyarrow.field("token_ids", pyarrow.list_(pyarrow.int32()), nullable=False),
        pyarrow.field("candidate", pyarrow.list_(pyarrow.bool_()), nullable=False),
        pyarrow.field("answer", pyarrow.list_(pyarrow.float32()), nullable=False),
        pyarrow.field("score", pyarrow.list_(pyarrow.float32()), nullable=False),
        pyarrow.field("weight", pyarrow.list_(pyarrow.float32()), nullable=False),
        pyarrow.field("answered", pyarrow.bool_(), nullable=False),
        pyarrow.field("scored", pyarrow.bool_(), nullable=False),
        pyarrow.field("advantages", pyarrow.list_(pyarrow.float32())),
    ]
)


def columns(
    rollouts: Sequence[Rollout], batch: ScoreBatch, credit: TokenCredit
) -> pyarrow.RecordBatch:
    """A row of `SCHEMA` for each rollout of a batch, padding left out."""
    real = batch.attention_mask > 0
    lists = {
        "token_ids": batch.input_ids.int(),
        "candidate": batch.candidates,
        "answer": batch.answer.float(),
        "score": credit.scores.float(),
        "weight": credit.weights.float(),
    }
    arrays = {
        "row": [rollout.row for rollout in rollouts],
        "id": [rollout.id for rollout in rollouts],
        "prompt_tokens": [len(rollout.prompt_ids) for rollout in rollouts],
        **{name: _lists(values, real) for name, values in lists.items()},
        "answered": credit.answered.cpu().numpy(),
        "scored": credit.scored.cpu().numpy(),
        "advantages": _advantages(rollouts, batch, credit),
    }
    return pyarrow.RecordBatch.from_arrays(
        [pyarrow.array(arrays[field.name], field.type) for field in SCHEMA], schema=SCHEMA
    )


def _lists(values: Tensor, mask: Tensor, there: Tensor | None = None) -> pyarrow.ListArray:
    """The masked values (B, T) of each row as a list, null in rows that are not there, (B,) bool."""
    offsets = torch.zeros(len(mask) + 1, dtype=torch.int32)
    offsets[1:] = mask.sum(1).cumsum(0).cpu()
    # A null offset means that its row is null.
    hidden = None if there is None else torch.cat([~there, torch.tensor([False])]).numpy()
    return pyarrow.ListArray.from_arrays(
        pyarrow.array(offsets.numpy(), mask=hidden), pyarrow.array(values[mask].cpu().numpy())
    )


def _advantages(
    rollouts: Sequence[Rollout], batch: ScoreBatch, credit: TokenCredit
) -> pyarrow.ListArray:
    """The given advantages of each response times its weights; null where none are given."""
    rows = [
        ()
        if rollout.advantages is None
        else (*(0.0 for _ in rollout.prompt_ids), *rollout.advantages)
        for rollout in rollouts
    ]
    there = torch.tensor([rollout.advantages is not None for rollout in rollouts])
    advantages = torch.zeros(batch.input_ids.shape)
    for number, row in enumerate(rows):
        advantages[number, : len(row)] = torch.tensor(row)
    weights, candidates = credit.weights.cpu(), batch.candidates.cpu()
    position = torch.arange(batch.input_ids.shape[1])
    prompts = torch.tensor([len(rollout.prompt_ids) for rollout in rollouts])
    response = (batch.attention_mask.cpu() > 0) & (position >= prompts[:, None]) & there[:, None]
    return _lists(apply_credit(advantages, weights, candidates), response, there)

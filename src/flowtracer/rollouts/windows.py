"""Shards as windows: rollouts that are scored together, as a batch with its answers found."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from flowtracer.credit import Credit, ScoreBatch, sequence_batch
from flowtracer.models.padding import pad_rows
from flowtracer.rollouts.rollout import Limits, PromptReader, Rollout, read_rollout
from flowtracer.rollouts.shards import Damaged, Shard, ShardReader


@dataclass(frozen=True)
class Reading:
    """What turns rows into windows."""

    tokenizer: PreTrainedTokenizerBase
    credit: Credit
    limits: Limits
    batch_tokens: int  # of a window, padding included, unless a single rollout has more
    chat: bool | None
    delimiters: Tensor | None  # `structural_vocabulary`, where the credit needs it


@dataclass(frozen=True)
class Window:
    """Rollouts of a shard that are scored together; the last window of a shard may have none."""

    shard: Shard
    rollouts: Sequence[Rollout]
    batch: ScoreBatch | None  # None: they do not form one batch
    errors: Sequence[dict[str, Any]]  # rows in front of or among the rollouts that are none
    last: bool  # of its shard


def read_windows(
    reader: ShardReader, shards: Iterable[Shard], reading: Reading
) -> Iterator[Window]:
    """Windows of the shards in order, each with as many rollouts as the budget of tokens allows."""
    prompts = PromptReader(reading.tokenizer, reading.limits, reading.chat)
    for shard in shards:
        rollouts: list[Rollout] = []
        errors: list[dict[str, Any]] = []
        longest = 0
        for row, record in reader.read(shard):
            try:
                if isinstance(record, Damaged):
                    raise ValueError(record.reason)
                rollout = read_rollout(
                    reading.tokenizer, record, row, limits=reading.limits, prompts=prompts
                )
            except Exception as error:  # a chat template can raise anything on an odd conversation
                errors.append(error_row(shard, row, error))
                continue
            longest = max(longest, rollout.tokens)
            if rollouts and longest * (len(rollouts) + 1) > reading.batch_tokens:
                yield _window(shard, rollouts, errors, reading, last=False)
                rollouts, errors, longest = [], [], rollout.tokens
            rollouts.append(rollout)
        yield _window(shard, rollouts, errors, reading, last=True)


def make_batch(rollouts: Sequence[Rollout], reading: Reading) -> ScoreBatch:
    """Rollouts as a batch (B, T) that begins in the first column; padding follows each row.

    Raises ValueError or IndexError if an answer cannot be placed.
    """
    ids, real = pad_rows(
        [(*rollout.prompt_ids, *rollout.response_ids) for rollout in rollouts], left=False
    )
    inside = [
        (*(False for _ in rollout.prompt_ids), *rollout.response_mask) for rollout in rollouts
    ]
    response_mask, _ = pad_rows(inside, left=False)
    prompts = torch.tensor([len(rollout.prompt_ids) for rollout in rollouts])
    prompt = torch.arange(ids.shape[1]) < prompts[:, None]
    batch = sequence_batch(
        reading.tokenizer,
        input_ids=ids,
        attention_mask=real,
        question=prompt,
        completion_mask=real * ~prompt,
        response_mask=response_mask.bool(),
        answer=reading.credit.answer,
        steps=reading.credit.steps,
        delimiters=reading.delimiters,
    )
    for number, rollout in enumerate(rollouts):
        if rollout.answer is not None:
            answer = torch.tensor(rollout.answer) * torch.tensor(rollout.response_mask)
            batch.answer[number] = 0.0
            batch.answer[number, len(rollout.prompt_ids) : rollout.tokens] = answer
    return batch


def error_row(shard: Shard, row: int, error: Exception) -> dict[str, Any]:
    """What errors.jsonl says of a row that cannot be scored."""
    return {
        "row": row,
        "file": Path(shard.path).name,
        "row_of_file": shard.start + row - shard.first,
        "reason": " ".join(str(error).split())[:500] or type(error).__name__,
    }


def _window(
    shard: Shard,
    rollouts: Sequence[Rollout],
    errors: Sequence[dict[str, Any]],
    reading: Reading,
    *,
    last: bool,
) -> Window:
    try:
        batch = make_batch(rollouts, reading) if rollouts else None
    except (ValueError, IndexError):  # the worker finds out which rollout it is
        batch = None
    return Window(shard, rollouts, batch, errors, last)

"""Batches of rollouts with rewards: sampled from the policy, or read from a file that a trainer logged."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowtracer.models import Loaded
from flowtracer.models.padding import pad_rows
from flowtracer.records import first_field
from flowtracer.regions import AnswerRule
from flowtracer.rollouts.rollout import Limits, read_rollout
from flowtracer.rollouts.shards import Damaged, ShardReader, find_files, plan
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.responses import score_batch
from flowtracer.studies.sampling import Drawing, draw_responses
from flowtracer.studies.solutions import tokenize_conversation
from flowtracer.tasks import Task

REWARD_FIELDS = ("reward", "rewards", "score")


@dataclass(frozen=True)
class Group:
    """Responses to one prompt. responses: token ids, the end-of-text token included where there is one."""

    id: str
    prompt_ids: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]
    rewards: tuple[float, ...]
    problem: int = -1  # its index in the task; -1 if it came out of a file

    @property
    def informative(self) -> bool:
        """Whether its rewards differ: else every advantage is 0."""
        return len(set(self.rewards)) > 1


def draw_groups(
    loaded: Loaded,
    task: Task,
    batch: int,
    *,
    problems: int,
    responses: int,
    drawing: Drawing,
    seed: int,
) -> list[Group]:
    """A batch of the policy's own rollouts, the same for the same number and seed.

    Problems are taken in an order that the seed shuffles, and from the beginning again at its end.
    """
    order = list(range(len(task.examples)))
    random.Random(seed).shuffle(order)
    chosen = [order[(batch * problems + i) % len(order)] for i in range(problems)]
    examples = [task.examples[problem] for problem in chosen]
    prompts = [
        tokenize_conversation(loaded.tokenizer, task.prompt(example)).ids for example in examples
    ]
    drawn = draw_responses(
        loaded,
        task,
        examples,
        prompts,
        drawing,
        count=responses,
        seed=1_000_003 * (seed + 1) + batch,
    )
    return [
        Group(
            example.id,
            tuple(prompt),
            tuple(response.tokens for response in group if response.tokens),
            tuple(response.reward for response in group if response.tokens),
            problem,
        )
        for problem, example, prompt, group in zip(chosen, examples, prompts, drawn, strict=True)
    ]


def read_groups(loaded: Loaded, source: Path, *, most_tokens: int) -> list[Group]:
    """Groups of a file of rollouts, by their prompt, in the order in which prompts first come.

    Fields as in `flowtracer score`, and a reward (one of `REWARD_FIELDS`). Prompts with one response
    say nothing about a group's advantage and are left out.

    Raises ValueError for a row that cannot be used, and if no prompt has two responses.
    """
    limits = Limits(loaded.model.config.get_text_config().vocab_size, most_tokens)
    reader = ShardReader()
    by_prompt: dict[tuple[int, ...], list[tuple[tuple[int, ...], float, str]]] = {}
    for shard in plan(find_files(source), 256):
        for row, record in reader.read(shard):
            try:
                if isinstance(record, Damaged):
                    raise ValueError(record.reason)
                rollout = read_rollout(loaded.tokenizer, record, row, limits=limits)
                reward = first_field(record, REWARD_FIELDS)
                if not isinstance(reward, int | float) or isinstance(reward, bool):
                    raise ValueError(f"has no number as {' or '.join(REWARD_FIELDS)}")
                if not all(rollout.response_mask):
                    raise ValueError("has tool output, which this study does not take")
            except ValueError as error:
                raise ValueError(f"{shard.path}, row {row}: {error}") from None
            members = by_prompt.setdefault(rollout.prompt_ids, [])
            members.append((rollout.response_ids, float(reward), rollout.id or f"row {row}"))
    groups = [
        Group(
            members[0][2],
            prompt,
            tuple(ids for ids, _, _ in members),
            tuple(reward for _, reward, _ in members),
        )
        for prompt, members in by_prompt.items()
        if len(members) > 1
    ]
    if not groups:
        raise ValueError(
            f"{source}: no prompt has two responses; advantages need several rollouts of each prompt"
        )
    return groups


def batches_in(groups: Sequence[Group], problems: int, most: int) -> int:
    """Batches of so many problems that groups make, at most `most`; what is left over is not used.

    Raises ValueError if there are fewer than two.
    """
    count = min(most, len(groups) // problems)
    if count < 2:
        raise ValueError(
            f"the rollouts have {len(groups)} prompts with several responses, which is less than two "
            f"batches of {problems}; lower --problems or bring more"
        )
    return count


@dataclass(frozen=True)
class RolloutBatch:
    """N responses ready for scoring and for gradients; rewards and groups (N,)."""

    scored: ScoreBatch
    rewards: Tensor  # float64
    groups: Tensor  # int, which prompt


def batch_of(
    loaded: Loaded,
    groups: Sequence[Group],
    *,
    answer: AnswerRule,
    delimiters: Tensor,
    conversations: Sequence[Any] | None = None,
) -> RolloutBatch:
    """Groups as one padded batch. conversations: one a group, if flow is to enter at the user's words."""
    pairs = [
        (number, i) for number, group in enumerate(groups) for i in range(len(group.responses))
    ]
    prompt_ids, prompt_mask = pad_rows([groups[n].prompt_ids for n, _ in pairs], left=True)
    ids, mask = pad_rows([groups[n].responses[i] for n, i in pairs], left=False)
    scored = score_batch(
        loaded.tokenizer,
        prompt_ids=prompt_ids,
        prompt_mask=prompt_mask,
        completion_ids=ids,
        completion_mask=mask,
        answer=answer,
        conversations=None if conversations is None else [conversations[n] for n, _ in pairs],
        delimiters=delimiters,
    )
    return RolloutBatch(
        scored,
        torch.tensor([groups[n].rewards[i] for n, i in pairs], dtype=torch.float64),
        torch.tensor([n for n, _ in pairs]),
    )


def group_row(group: Group) -> dict[str, Any]:
    """A group in values that JSON keeps as they are."""
    return asdict(group) | {
        "prompt_ids": list(group.prompt_ids),
        "responses": [list(ids) for ids in group.responses],
        "rewards": list(group.rewards),
    }

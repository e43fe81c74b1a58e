"""A model's own sampled responses to a task's problems, and continuations of their prefixes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from flowtracer.evaluation.run import reward_of
from flowtracer.models import Loaded
from flowtracer.models.branching import Prefix
from flowtracer.models.continuation import continue_in_parts, read_prefix
from flowtracer.models.generation import end_tokens
from flowtracer.regions import decode_text
from flowtracer.tasks import Example, Task


@dataclass(frozen=True)
class Sampled:
    """One response. tokens: with the end-of-text token, if it came to its end."""

    tokens: tuple[int, ...]
    ended: bool
    reward: float

    @property
    def ids(self) -> tuple[int, ...]:
        """Without the end-of-text token."""
        return self.tokens[:-1] if self.ended else self.tokens


@dataclass(frozen=True)
class Drawing:
    """How tokens are sampled. limit: tokens of a complete response."""

    limit: int
    temperature: float = 1.0  # the policy itself, as in training


def draw_responses(
    loaded: Loaded,
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[Sequence[int]],
    drawing: Drawing,
    *,
    count: int,
    seed: int,
) -> list[list[Sampled]]:
    """`count` responses to each prompt; a prompt runs once for all of its responses."""
    model = loaded.model
    ends = end_tokens(model, loaded.tokenizer)
    prefixes = [read_prefix(model, ids) for ids in prompts]
    tasks = [task.behind(decode_text(loaded.tokenizer, list(ids))) for ids in prompts]
    rows = continue_in_parts(
        model,
        prefixes,
        copies=count,
        limits=[drawing.limit] * len(prompts),
        ends=ends,
        temperature=drawing.temperature,
        seed=seed,
    )
    responses = [
        _graded(loaded.tokenizer, tasks[number // count], examples[number // count], row, ends)
        for number, row in enumerate(rows)
    ]
    return [responses[start : start + count] for start in range(0, len(responses), count)]


def continuation_rewards(
    loaded: Loaded,
    task: Task,
    example: Example,
    prefixes: Sequence[Prefix],
    beginnings: Sequence[Sequence[int]],
    drawing: Drawing,
    *,
    copies: int,
    seed: int,
) -> Tensor:
    """Rewards of K = `copies` continuations of each of n beginnings of responses, (n, K) float32.

    task: for this prompt, see `Task.behind`. prefixes: the prompt with each beginning, read by the model.
    Equal responses are graded once.
    """
    ends = end_tokens(loaded.model, loaded.tokenizer)
    grades: dict[tuple[int, ...], float] = {}
    rewards: list[float] = []
    rows = continue_in_parts(
        loaded.model,
        prefixes,
        copies=copies,
        limits=[drawing.limit - len(begun) for begun in beginnings],
        ends=ends,
        temperature=drawing.temperature,
        seed=seed,
    )
    for index, row in enumerate(rows):
        ids = (*beginnings[index // copies], *row)
        if ids not in grades:
            grades[ids] = _graded(loaded.tokenizer, task, example, list(ids), ends).reward
        rewards.append(grades[ids])
    return torch.tensor(rewards).view(len(prefixes), copies)


def _graded(
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    example: Example,
    row: list[int],
    ends: set[int],
) -> Sampled:
    """A response with its reward; `row` may end with an end-of-text token."""
    ended = bool(row) and row[-1] in ends
    text = decode_text(tokenizer, row[:-1] if ended else row)
    return Sampled(tuple(row), ended, reward_of(task, text, example))

"""A model's own sampled responses to a task's problems, and continuations of their prefixes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from flowtracer.evaluation.run import reward_of
from flowtracer.models import Loaded
from flowtracer.models.branching import Prefix
from flowtracer.models.continuation import continue_prefixes, read_prefix, sampled
from flowtracer.models.generation import end_tokens
from flowtracer.regions import decode_text
from flowtracer.tasks import Example, Task

NUMBERS = 1 << 28  # keys and values held at a time, our choice: 1 GiB in float32
MOST_ROWS = 2048  # our choice: beyond, a step of a small model gains nothing by more rows


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
    """How tokens are drawn. limit: tokens of a whole response."""

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
    limits = [drawing.limit] * len(prompts)
    rows = _continued(model, prefixes, limits, drawing, copies=count, ends=ends, seed=seed)
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
    response_ids: Sequence[int],
    points: Sequence[int],
    drawing: Drawing,
    *,
    copies: int,
    seed: int,
) -> Tensor:
    """Rewards of K = `copies` continuations from each of n points of one response, (n, K) float32.

    task: for this prompt, see `Task.behind`. prefixes: the prompt with the response's first `points[j]`
    tokens. Equal continuations are graded once.
    """
    ends = end_tokens(loaded.model, loaded.tokenizer)
    limits = [drawing.limit - point for point in points]
    grades: dict[tuple[int, ...], float] = {}
    rewards: list[float] = []
    rows = _continued(loaded.model, prefixes, limits, drawing, copies=copies, ends=ends, seed=seed)
    for index, row in enumerate(rows):
        ids = (*response_ids[: points[index // copies]], *row)
        if ids not in grades:
            grades[ids] = _graded(loaded.tokenizer, task, example, list(ids), ends).reward
        rewards.append(grades[ids])
    return torch.tensor(rewards).view(len(points), copies)


def _continued(
    model: torch.nn.Module,
    prefixes: Sequence[Prefix],
    limits: Sequence[int],
    drawing: Drawing,
    *,
    copies: int,
    ends: set[int],
    seed: int,
) -> list[list[int]]:
    """New tokens of every row of every prefix, a group of prefixes at a time."""
    generator = torch.Generator(prefixes[0].logits.device).manual_seed(seed)
    rows: list[list[int]] = []
    for part in _groups(prefixes, limits, copies):
        rows += continue_prefixes(
            model,
            prefixes[part],
            copies=copies,
            limits=limits[part],
            ends=ends,
            choose=sampled(drawing.temperature, generator),
        )
    return rows


def _groups(prefixes: Sequence[Prefix], limits: Sequence[int], copies: int) -> Iterator[slice]:
    """Ranges of prefixes that go on together.

    Neighbours, whose continuations are alike in length. Depends on the settings only, so that a seed
    gives the same continuations on every machine.
    """
    numbers_per_token = sum(2 * keys[0, :, 0].numel() for keys, _ in prefixes[0].text)
    longest = max(p.length + limit for p, limit in zip(prefixes, limits, strict=True))
    rows = max(1, min(MOST_ROWS, NUMBERS // (numbers_per_token * longest)))
    step = max(1, rows // copies)
    for start in range(0, len(prefixes), step):
        yield slice(start, start + step)


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

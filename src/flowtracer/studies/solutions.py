"""A model's own greedy solutions of a task, the material of every study but training's."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from flowtracer.credit import ScoreBatch, score_batch
from flowtracer.intervention import attention_knockout, decode, prefill
from flowtracer.models import Loaded
from flowtracer.models.generation import end_tokens
from flowtracer.regions import (
    TokenizedText,
    answer_weights,
    decode_with_offsets,
    find_answer,
    render_prompt,
    tokenize_prompt,
)
from flowtracer.regions.prompts import Message
from flowtracer.storage import append_rows, check_settings, lock, read_rows
from flowtracer.tasks import Task

SOLUTIONS_FILE = "solutions.jsonl"
SETTINGS_FILE = "solutions.json"
BATCH = 32  # solutions made together, our choice
LEAST_BEFORE = 20  # response tokens in front of the answer, our choice: something to hide

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SolutionSettings:
    """What decides which solutions a model gives."""

    model: str
    task: str
    split: str = "test"
    max_new_tokens: int = 512
    seed: int = 0  # of generated tasks
    dtype: str = "auto"


@dataclass(frozen=True)
class Solution:
    """One response. `before` is the number of its tokens in front of the answer, -1 without answer."""

    problem: int  # its place in the task
    id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    before: int
    answer_tokens: int
    answer: str
    reward: float

    @property
    def usable(self) -> bool:
        """Whether it has an answer and something in front of it."""
        return self.before >= LEAST_BEFORE


def collect_solutions(
    loaded: Loaded,
    task: Task,
    folder: Path,
    *,
    settings: SolutionSettings,
    wanted: int,
    progress: Progress | None = None,
) -> list[Solution]:
    """The first `wanted` usable solutions in the task's order; all that were made are in the folder.

    Solutions are made in fixed batches, so that a run that was killed goes on to the same result, and
    several studies can share a folder.

    Raises ValueError if the folder holds solutions of other settings or is in use, or if the task has
    too few problems that the model answers.
    """
    with lock(folder, "another study"):
        check_settings(folder / SETTINGS_FILE, asdict(settings), what="solutions")
        return _collect(loaded, task, folder / SOLUTIONS_FILE, settings, wanted, progress)


def score_batches(
    tokenizer: PreTrainedTokenizerBase,
    solution: Solution,
    *,
    rule: str,
    messages: Sequence[Message],
    structural: Tensor,
) -> dict[str, ScoreBatch]:
    """A solution as a batch of one text to score, with flow from the "prompt" or from the "user".

    messages: the conversation that was answered. structural: `structural_vocabulary`.
    """
    prompt = torch.tensor([solution.prompt_ids])
    completion = torch.tensor([solution.response_ids])
    return {
        where: score_batch(
            tokenizer,
            prompt_ids=prompt,
            prompt_mask=torch.ones_like(prompt),
            completion_ids=completion,
            completion_mask=torch.ones_like(completion),
            answer=rule,
            conversations=users,
            delimiters=structural,
        )
        for where, users in (("prompt", None), ("user", [messages]))
    }


def _collect(
    loaded: Loaded,
    task: Task,
    path: Path,
    settings: SolutionSettings,
    wanted: int,
    progress: Progress | None,
) -> list[Solution]:
    names = {one.name for one in fields(Solution)}
    rows = read_rows(path, names)
    whole = len(rows) - len(rows) % BATCH if len(rows) < len(task.examples) else len(rows)
    solutions = [_read(row) for row in rows[:whole]]
    _check_questions(loaded, task, solutions, path)
    with append_rows(path, map(asdict, solutions)) as append:
        while sum(one.usable for one in solutions) < wanted:
            if progress:
                progress(sum(one.usable for one in solutions), wanted)
            start = len(solutions)
            if start >= len(task.examples):
                raise ValueError(
                    f"task {task.name}: only {sum(one.usable for one in solutions)} of {start} problems "
                    f"have a solution with an answer; ask for fewer than {wanted} or raise "
                    "--max-new-tokens"
                )
            numbers = range(start, min(start + BATCH, len(task.examples)))
            made = _solve(loaded, task, numbers, settings)
            append(map(asdict, made))
            solutions += made
    if progress:
        progress(wanted, wanted)
    return [one for one in solutions if one.usable][:wanted]


def _check_questions(loaded: Loaded, task: Task, solutions: Sequence[Solution], path: Path) -> None:
    """Raise ValueError if solutions were made for other questions: a task's file may have changed."""
    known = len(task.examples)
    for one in solutions:
        fits = one.problem < known and one.id == task.examples[one.problem].id
        if not fits or tuple(_prompt(loaded, task, one.problem).ids) != one.prompt_ids:
            raise ValueError(
                f"{path} holds the solution of another problem {one.problem} than task {task.name} has; "
                "choose another folder for the solutions"
            )


def _prompt(loaded: Loaded, task: Task, number: int) -> TokenizedText:
    """A problem as the model is asked it."""
    tokenizer = loaded.tokenizer
    messages = task.prompt(task.examples[number])
    chat = bool(getattr(tokenizer, "chat_template", None))
    return tokenize_prompt(
        tokenizer, render_prompt(tokenizer, messages if chat else messages[-1]["content"])
    )


def _read(row: dict[str, Any]) -> Solution:
    found: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    return Solution(**found)


def _solve(
    loaded: Loaded, task: Task, numbers: range, settings: SolutionSettings
) -> list[Solution]:
    model, tokenizer = loaded.model, loaded.tokenizer
    prompts = [_prompt(loaded, task, number) for number in numbers]
    with attention_knockout(model) as knockout:
        texts = [
            prefill(model, knockout, one.ids, torch.zeros(1, len(one.ids), dtype=torch.bool))
            for one in prompts
        ]
        limits = [settings.max_new_tokens] * len(texts)
        responses = decode(model, knockout, texts, limits=limits, ends=end_tokens(model, tokenizer))
    return [
        _solution(loaded, task, number, prompt.ids, response)
        for number, prompt, response in zip(numbers, prompts, responses, strict=True)
    ]


def _solution(
    loaded: Loaded, task: Task, number: int, prompt_ids: list[int], ids: list[int]
) -> Solution:
    example = task.examples[number]
    text = decode_with_offsets(loaded.tokenizer, ids)
    held = answer_weights(task.answer_rule, text).nonzero()[:, 0].tolist() if ids else []
    first, last = (held[0], held[-1]) if held else (-1, -2)
    # By its characters: its first token can begin in front of it, as in `{-`.
    spans = find_answer(text.text, task.answer_rule)
    answer = text.text[spans[0].start : spans[-1].stop] if held else ""
    return Solution(
        number,
        example.id,
        tuple(prompt_ids),
        tuple(ids),
        first,
        last - first + 1,
        answer,
        float(task.grade(text.text, example)),
    )

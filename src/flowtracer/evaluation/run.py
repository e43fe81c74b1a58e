"""A task's accuracy for one model: every completion written, resumable after a kill."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from flowtracer.evaluation.backends import BACKENDS, Complete
from flowtracer.models import load_tokenizer
from flowtracer.models.generation import Sampling
from flowtracer.regions import render_prompt
from flowtracer.statistics.intervals import Interval, Rewards, mean_accuracy, pass_at
from flowtracer.storage import check_settings, lock, read_json, read_rows, resume_rows, write_json
from flowtracer.tasks import Task
from flowtracer.tasks.task import Example

COMPLETIONS_FILE = "completions.jsonl"
SUMMARY_FILE = "summary.json"
SETTINGS_FILE = "eval.json"
FIELDS = {"problem": int, "sample": int, "reward": float}

Pair = tuple[int, int]  # problem, sample
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class EvalSettings:
    """What an evaluation measures; a folder holds one."""

    model: str
    task: str
    problems: int
    samples: int = 1
    seed: int = 0
    batch: int = 32
    sampling: Sampling = field(default_factory=Sampling)
    backend: str = "transformers"
    dtype: str = "auto"
    device: str = "auto"
    trust_remote_code: bool = False


@dataclass(frozen=True)
class EvalResult:
    """Accuracy as mean over samples, pass@k for k up to the number of samples."""

    accuracy: Interval
    pass_at: dict[int, Interval]
    rewards: Rewards  # (problems, samples)


def evaluate(
    settings: EvalSettings, task: Task, folder: Path, *, progress: Progress | None = None
) -> EvalResult:
    """Complete every problem `samples` times, grade, write `completions.jsonl` and `summary.json`.

    A row has what `flowtracer score` and `study gradient --rollouts` read: prompt, response and reward.

    Run again after a kill, it generates only what is missing; batches are fixed and seeded one by one, so
    the result is the same.

    Raises ValueError if the folder holds another evaluation or is in use.
    """
    with lock(folder, "another evaluation"):
        return _evaluate(settings, task, folder, progress)


def _evaluate(
    settings: EvalSettings, task: Task, folder: Path, progress: Progress | None
) -> EvalResult:
    contents = {"contents": _digest(task)}  # a task's file may be edited between two runs
    check_settings(folder / SETTINGS_FILE, asdict(settings) | contents, what="an evaluation")
    respond = _responder(settings, task)

    def make_rows(number: int, batch: Sequence[Pair]) -> Iterator[dict[str, Any]]:
        responses = respond([problem for problem, _ in batch], settings.seed + 1_000_003 * number)
        for (problem, sample), (asked, response) in zip(batch, responses, strict=True):
            example = task.examples[problem]
            reward = reward_of(asked, response, example)
            row = {"problem": problem, "id": example.id, "sample": sample, "reward": reward}
            texts = {"prompt": task.prompt(example), "response": response}
            yield row | {"answer": example.answer} | texts

    rows = resume_rows(
        folder / COMPLETIONS_FILE,
        _batches(task, settings),
        make_rows,
        key=lambda row: (row["problem"], row["sample"]),
        fields=FIELDS,
        progress=progress or (lambda done, total: None),
    )
    rewards = _rewards(rows.values(), settings.problems, settings.samples, folder)
    ks = [k for k in (2, 4, 8, 16, 32, 64, 128) if k <= settings.samples]
    result = EvalResult(mean_accuracy(rewards), {k: pass_at(rewards, k) for k in ks}, rewards)
    _write_summary(settings, result, folder)
    return result


def read_rewards(folder: Path) -> Rewards:
    """Rewards (problems, samples) of a finished evaluation."""
    settings = read_json(folder / SETTINGS_FILE, dict)
    rows = read_rows(folder / COMPLETIONS_FILE, FIELDS)
    rewards = _rewards(rows, settings["problems"], settings["samples"], folder)
    if np.isnan(rewards).any():
        raise ValueError(f"{folder} holds an evaluation that is not finished; run it again")
    return rewards


def reward_of(task: Task, response: str, example: Example) -> float:
    """The reward of a response. Raises ValueError if the grading process died twice."""
    reward = task.grade_response(response, example)
    if math.isnan(reward):
        raise ValueError(
            f"problem {example.id}: the process that compares answers ended twice while it graded a "
            "response; see that memory is free and run the command again"
        )
    return reward


def _digest(task: Task) -> str:
    """Of all responses that were graded."""
    examples = [
        [example.id, example.question, example.answer, dict(example.extra)]
        for example in task.examples
    ]
    text = json.dumps([task.instruction, task.answer_rule, examples], sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]


def _rewards(rows: Iterable[dict[str, Any]], problems: int, samples: int, folder: Path) -> Rewards:
    """Rewards (problems, samples); NaN where there is no row."""
    rewards = np.full((problems, samples), np.nan)
    for row in rows:
        problem, sample, reward = row["problem"], row["sample"], row["reward"]
        if not (0 <= problem < problems and 0 <= sample < samples and np.isfinite(reward)):
            raise ValueError(
                f"{folder / COMPLETIONS_FILE}: has sample {sample} of problem {problem} with reward "
                f"{reward}, which is none of this evaluation; delete the line and run it again"
            )
        rewards[problem, sample] = reward
    return rewards


def _batches(task: Task, settings: EvalSettings) -> list[list[Pair]]:
    """(problem, sample) pairs; problems of similar length together, so that little is padding."""
    order = sorted(range(len(task.examples)), key=lambda i: (len(task.examples[i].question), i))
    pairs = [(problem, sample) for problem in order for sample in range(settings.samples)]
    return [pairs[start : start + settings.batch] for start in range(0, len(pairs), settings.batch)]


def _responder(
    settings: EvalSettings, task: Task
) -> Callable[[Sequence[int], int], Sequence[tuple[Task, str]]]:
    """From numbers of problems and a seed to responses, each with the task behind its prompt.

    The first call loads the model.
    """

    @cache
    def load() -> tuple[list[str], list[Task], Complete]:
        complete = BACKENDS[settings.backend](
            settings.model,
            settings.sampling,
            dtype=settings.dtype,
            device=settings.device,
            trust_remote_code=settings.trust_remote_code,
        )
        tokenizer = load_tokenizer(settings.model, trust_remote_code=settings.trust_remote_code)
        prompts = _prompts(task, tokenizer)
        dropped = tokenizer.all_special_tokens
        return prompts, [task.behind(prompt, dropped=dropped) for prompt in prompts], complete

    def respond(problems: Sequence[int], seed: int) -> Sequence[tuple[Task, str]]:
        prompts, asked, complete = load()
        responses = complete([prompts[problem] for problem in problems], seed)
        return list(zip([asked[problem] for problem in problems], responses, strict=True))

    return respond


def _prompts(task: Task, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    chat = bool(getattr(tokenizer, "chat_template", None))
    conversations = [task.prompt(example) for example in task.examples]
    prompts = [messages if chat else messages[-1]["content"] for messages in conversations]
    return [render_prompt(tokenizer, prompt).text for prompt in prompts]


def _write_summary(settings: EvalSettings, result: EvalResult, folder: Path) -> None:
    summary = {
        "settings": asdict(settings),
        "accuracy": asdict(result.accuracy),
        "pass_at": {str(k): asdict(interval) for k, interval in result.pass_at.items()},
        "note": "95% intervals over problems: Wilson's for one sample a problem, else the bootstrap",
    }
    write_json(folder / SUMMARY_FILE, summary)

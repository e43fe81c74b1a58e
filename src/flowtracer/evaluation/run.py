"""A task's accuracy for one model: every completion written, resumable after a kill."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from flowtracer.evaluation.backends import BACKENDS, Complete
from flowtracer.evaluation.intervals import Interval, Rewards, mean_accuracy, pass_at
from flowtracer.models import model_path
from flowtracer.models.generation import Sampling
from flowtracer.regions import render_prompt
from flowtracer.storage import append_rows, check_settings, lock, read_rows, write_json
from flowtracer.tasks import Task

COMPLETIONS_FILE = "completions.jsonl"
SUMMARY_FILE = "summary.json"
SETTINGS_FILE = "eval.json"
FIELDS = ("problem", "sample", "reward")

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

    Run again after a kill it makes only what is missing; batches are fixed and seeded one by one, so
    the result is the same.

    Raises ValueError if the folder holds another evaluation or is in use.
    """
    with lock(folder, "another evaluation"):
        return _evaluate(settings, task, folder, progress)


def _evaluate(
    settings: EvalSettings, task: Task, folder: Path, progress: Progress | None
) -> EvalResult:
    check_settings(folder / SETTINGS_FILE, asdict(settings), what="an evaluation")
    path = folder / COMPLETIONS_FILE
    rewards = np.full((len(task.examples), settings.samples), np.nan)
    rows = read_rows(path, FIELDS)
    for row in rows:
        rewards[row["problem"], row["sample"]] = row["reward"]
    complete: Complete | None = None
    with append_rows(path, rows) as append:
        for number, batch in enumerate(_batches(task, settings)):
            if progress:
                progress(int((~np.isnan(rewards)).sum()), rewards.size)
            if not any(np.isnan(rewards[problem, sample]) for problem, sample in batch):
                continue
            if complete is None:
                prompts = _prompts(task, settings)
                complete = BACKENDS[settings.backend](
                    settings.model, settings.sampling, dtype=settings.dtype, device=settings.device
                )
            responses = complete(
                [prompts[problem] for problem, _ in batch], settings.seed + 1_000_003 * number
            )
            new = []
            for (problem, sample), response in zip(batch, responses, strict=True):
                example = task.examples[problem]
                reward = float(task.grade(response, example))
                if np.isnan(rewards[problem, sample]):
                    row = {"problem": problem, "id": example.id, "sample": sample, "reward": reward}
                    row |= {"answer": example.answer, "response": response}
                    new.append(row)
                rewards[problem, sample] = reward
            append(new)
    if progress:
        progress(rewards.size, rewards.size)
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k <= settings.samples]
    result = EvalResult(
        mean_accuracy(rewards), {k: pass_at(rewards, k) for k in ks if k > 1}, rewards
    )
    _write_summary(settings, result, folder)
    return result


def read_rewards(folder: Path) -> Rewards:
    """Rewards (problems, samples) of a finished evaluation."""
    settings = json.loads((folder / SETTINGS_FILE).read_text())
    rewards = np.full((settings["problems"], settings["samples"]), np.nan)
    for row in read_rows(folder / COMPLETIONS_FILE, FIELDS):
        rewards[row["problem"], row["sample"]] = row["reward"]
    if np.isnan(rewards).any():
        raise ValueError(f"{folder} holds an evaluation that is not finished; run it again")
    return rewards


def _batches(task: Task, settings: EvalSettings) -> Iterator[list[tuple[int, int]]]:
    """(problem, sample) pairs; problems of similar length together, so that little is padding."""
    order = sorted(range(len(task.examples)), key=lambda i: (len(task.examples[i].question), i))
    pairs = [(problem, sample) for problem in order for sample in range(settings.samples)]
    for start in range(0, len(pairs), settings.batch):
        yield pairs[start : start + settings.batch]


def _prompts(task: Task, settings: EvalSettings) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(model_path(settings.model))
    chat = bool(getattr(tokenizer, "chat_template", None))
    messages = [task.prompt(example) for example in task.examples]
    return [render_prompt(tokenizer, one if chat else one[-1]["content"]).text for one in messages]


def _write_summary(settings: EvalSettings, result: EvalResult, folder: Path) -> None:
    summary = {
        "settings": asdict(settings),
        "accuracy": asdict(result.accuracy),
        "pass_at": {str(k): asdict(one) for k, one in result.pass_at.items()},
        "note": "95% bootstrap intervals over problems",
    }
    write_json(folder / SUMMARY_FILE, summary)

"""`flowtracer study training`: the same budget for every method and seed, then a held-out test.

Each run and each evaluation is a process of its own, which resumes by itself, so that a study that
was killed goes on where it was.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from flowtracer.evaluation.intervals import Rewards
from flowtracer.evaluation.run import read_rewards
from flowtracer.storage import atomic_write, check_settings, lock
from flowtracer.studies.provenance import PACKAGES, note_environment
from flowtracer.studies.training.child import run_command
from flowtracer.studies.training.learning import EARLY_STEPS
from flowtracer.studies.training.variants import Variant
from flowtracer.training.metrics import METRICS_FILE, read_metrics

Rows = tuple[dict[str, Any], ...]
Say = Callable[[str], None]
STUDY_FILE, CONFIG_FILE = "study.json", "config.yaml"
TRAIN_LOG, EVAL_LOG = "train.log", "eval.log"


@dataclass(frozen=True)
class TrainingStudy:
    """What is compared and how it is tested.

    settings: what the file `config` says; a study is about these settings, not about a file that may be
    edited.
    """

    config: str
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()  # options for every run
    start_model: str = "embedded"
    task: str = "countdown"
    source: str | None = None
    split: str = "test"
    problems: int | None = 1000
    samples: int = 1
    temperature: float = 1.0
    max_new_tokens: int = 128
    batch: int = 250
    trust_remote_code: bool = False
    early_steps: int = EARLY_STEPS  # of the primary measure
    reach: float | None = None  # a mean reward whose first step is reported

    def __post_init__(self) -> None:
        if self.early_steps < 1:
            raise ValueError(f"early_steps is {self.early_steps}; it must be at least 1")


@dataclass(frozen=True)
class VariantResult:
    """One variant: held-out rewards (problems, samples) and metrics, per seed."""

    name: str
    rewards: tuple[Rewards, ...]
    metrics: tuple[Rows, ...]

    @property
    def per_problem(self) -> Rewards:
        """Mean over samples, (seeds, problems)."""
        return np.stack([rewards.mean(1) for rewards in self.rewards])


@dataclass(frozen=True)
class TrainingResults:
    """Held-out rewards (problems, samples) of the model at its start, and every variant's result."""

    start: Rewards
    variants: tuple[VariantResult, ...]


def run_training(study: TrainingStudy, out: Path, *, jobs: int, say: Say) -> TrainingResults:
    """Do what is missing and return all results.

    jobs: runs at a time; the cores are shared between them.

    Raises ValueError if `out` holds another study or is in use, or naming the run that failed and its
    log.
    """
    with lock(out, "another study"):
        # Seeds and variants may be added to a study later; everything else must stay.
        free = ("config", "variants", "seeds", "early_steps", "reach")  # the last two: the report's
        check_settings(out / STUDY_FILE, asdict(study), what="a study", free=free)
        with atomic_write(
            out / CONFIG_FILE
        ) as partial:  # what runs read, whatever is edited meanwhile
            partial.write_text(
                yaml.safe_dump(dict(study.settings), sort_keys=False), encoding="utf-8"
            )
        return _run_all(study, out, jobs=jobs, say=say)


def _run_all(study: TrainingStudy, out: Path, *, jobs: int, say: Say) -> TrainingResults:
    cells = [(variant, seed) for seed in study.seeds for variant in study.variants]
    if not all(_finished(_folder(out, *cell), TRAIN_LOG).exists() for cell in cells):
        note_environment(out, (*PACKAGES, "trl"))
    threads = max(1, (os.cpu_count() or 1) // jobs)

    def run(variant: Variant, seed: int) -> None:
        folder = _folder(out, variant, seed)
        say(f"{variant.name}, seed {seed}: training")
        options = [*variant.overrides, *study.overrides, "--seed", str(seed)]
        command = ["train", str(out / CONFIG_FILE), *options, "--output_dir", str(folder)]
        _run(command, folder, TRAIN_LOG, threads)
        say(f"{variant.name}, seed {seed}: testing")
        _run(_evaluation(study, str(folder), folder / "eval"), folder, EVAL_LOG, threads)

    say("the model at its start: testing")
    start = out / "start"
    _run(_evaluation(study, study.start_model, start / "eval"), start, EVAL_LOG, threads * jobs)
    with ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(run, *cell) for cell in cells]
        try:
            for one in runs:
                one.result()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return TrainingResults(
        read_rewards(start / "eval"), tuple(_result(study, out, one) for one in study.variants)
    )


def _folder(out: Path, variant: Variant, seed: int) -> Path:
    return out / variant.name / f"seed-{seed}"


def _finished(folder: Path, log: str) -> Path:
    """A file that is there once the command with this log has ended well."""
    return folder / f".{log}.done"


def _result(study: TrainingStudy, out: Path, variant: Variant) -> VariantResult:
    folders = [_folder(out, variant, seed) for seed in study.seeds]
    return VariantResult(
        variant.name,
        tuple(read_rewards(folder / "eval") for folder in folders),
        tuple(tuple(read_metrics(folder / METRICS_FILE)) for folder in folders),
    )


def _evaluation(study: TrainingStudy, model: str, out: Path) -> list[str]:
    options = ["eval", "--model", model, "--task", study.task, "--split", study.split]
    options += ["--samples", str(study.samples), "--temperature", str(study.temperature)]
    options += ["--max-new-tokens", str(study.max_new_tokens), "--batch", str(study.batch)]
    options += ["--dtype", "float32", "--out", str(out)]
    if study.trust_remote_code:
        options += ["--trust-remote-code"]
    if study.source:
        options += ["--source", study.source]
    if study.problems:
        options += ["--limit", str(study.problems)]
    return options


def _run(command: Sequence[str], folder: Path, log: str, threads: int) -> None:
    """One command of ours, unless it was finished before; its output goes to a log."""
    finished = _finished(folder, log)
    if finished.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    status = run_command(command, folder / log, threads=threads)
    if status:
        last = [line for line in (folder / log).read_text().splitlines() if line.strip()][-1:]
        raise ValueError(
            f"`flowtracer {command[0]}` ended with status {status}: {''.join(last)[-300:]} "
            f"(all of it in {folder / log}); run the study again to go on"
        )
    finished.touch()

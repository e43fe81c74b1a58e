"""`flowtracer study training`: the same budget for every method and seed, then a held-out test.

Each run and each evaluation is a process of its own, which resumes by itself, so that a study that
was killed goes on where it was.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from flowtracer.evaluation.run import read_rewards
from flowtracer.storage import check_settings
from flowtracer.studies.training.report import VariantResult, write_report
from flowtracer.studies.training.variants import Variant
from flowtracer.training.metrics import METRICS_FILE, read_metrics

Say = Callable[[str], None]
STUDY_FILE = "study.json"


@dataclass(frozen=True)
class TrainingStudy:
    """What is compared and how it is tested."""

    config: str
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
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


def run_study(study: TrainingStudy, out: Path, *, jobs: int, say: Say) -> Path:
    """Do what is missing, then write the table and the figure; returns the table's path.

    jobs: runs at a time; the cores are shared between them.

    Raises ValueError if `out` holds another study, or naming the run that failed and its log.
    """
    out.mkdir(parents=True, exist_ok=True)
    # Seeds and variants may be added to a study later; everything else must stay.
    check_settings(out / STUDY_FILE, asdict(study), what="a study", free=("variants", "seeds"))
    cells = [(variant, seed) for seed in study.seeds for variant in study.variants]
    threads = max(1, (os.cpu_count() or 1) // jobs)

    def cell(one: tuple[Variant, int]) -> None:
        variant, seed = one
        folder = out / variant.name / f"seed-{seed}"
        say(f"{variant.name}, seed {seed}: training")
        options = [*variant.overrides, *study.overrides, "--seed", str(seed)]
        _run(
            ["train", study.config, *options, "--output_dir", str(folder)],
            folder,
            "train.log",
            threads,
        )
        say(f"{variant.name}, seed {seed}: testing")
        _run(_evaluation(study, str(folder), folder / "eval"), folder, "eval.log", threads)

    say("the model at its start: testing")
    start = out / "start"
    _run(_evaluation(study, study.start_model, start / "eval"), start, "eval.log", threads * jobs)
    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(cell, one) for one in cells]:
            done.result()

    results = [
        VariantResult(
            variant.name,
            tuple(
                read_rewards(out / variant.name / f"seed-{seed}" / "eval") for seed in study.seeds
            ),
            tuple(
                tuple(read_metrics(out / variant.name / f"seed-{seed}" / METRICS_FILE))
                for seed in study.seeds
            ),
        )
        for variant in study.variants
    ]
    return write_report(
        out,
        results,
        start=read_rewards(start / "eval"),
        seeds=study.seeds,
        settings=asdict(study),
    )


def _evaluation(study: TrainingStudy, model: str, out: Path) -> list[str]:
    options = ["eval", "--model", model, "--task", study.task, "--split", study.split]
    options += ["--samples", str(study.samples), "--temperature", str(study.temperature)]
    options += ["--max-new-tokens", str(study.max_new_tokens), "--batch", str(study.batch)]
    options += ["--dtype", "float32", "--out", str(out)]
    if study.source:
        options += ["--source", study.source]
    if study.problems:
        options += ["--limit", str(study.problems)]
    return options


def _run(command: Sequence[str], folder: Path, log: str, threads: int) -> None:
    """One command of ours, unless it was finished before; its output goes to a log."""
    finished = folder / f".{log}.done"
    if finished.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / log).open("a") as file:
        ended = subprocess.run(
            [sys.executable, "-m", "flowtracer", *command],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
    if ended.returncode:
        last = [line for line in (folder / log).read_text().splitlines() if line.strip()][-1:]
        raise ValueError(
            f"`flowtracer {command[0]}` ended with status {ended.returncode}: {''.join(last)[-300:]} "
            f"(all of it in {folder / log}); run the study again to go on"
        )
    finished.touch()

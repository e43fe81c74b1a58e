"""`flowtracer study training`: the same budget for every method and seed, then a held-out test.

With learning rates to choose from, every method is first run with each of them on seeds of its own, and
goes into the comparison with the one that did best by the primary measure.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from flowtracer.evaluation.run import read_rewards
from flowtracer.statistics.intervals import Rewards
from flowtracer.storage import atomic_write, check_settings, lock, read_json, write_json
from flowtracer.studies.provenance import PACKAGES, note_environment
from flowtracer.studies.training.learning import EARLY_STEPS, early_reward
from flowtracer.studies.training.runs import Command, Run, Say, run_all, visible_devices
from flowtracer.studies.training.tuning import Choice, choose_rate
from flowtracer.studies.training.variants import Variant
from flowtracer.training.metrics import METRICS_FILE, read_metrics

Rows = tuple[dict[str, Any], ...]
STUDY_FILE, CONFIG_FILE, RATE_FILE = "study.json", "config.yaml", "learning_rate.json"
TRAIN_LOG, EVAL_LOG = "train.log", "eval.log"


@dataclass(frozen=True)
class TrainingStudy:
    """What is compared and how it is tested.

    settings: what the file `config` says; a study is about these settings, not about a file that may be
    edited. device: cpu, cuda (all GPUs in turns), cuda:N, or auto for what the settings and the machine
    make of it.
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
    learning_rates: tuple[float, ...] = ()  # to choose from; none: that of the settings
    tuning_seeds: tuple[int, ...] = ()
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.early_steps < 1:
            raise ValueError(f"early_steps is {self.early_steps}; it must be at least 1")
        if bool(self.learning_rates) != bool(self.tuning_seeds):
            raise ValueError("learning rates are chosen on tuning seeds; give both or neither")
        shared = set(self.tuning_seeds) & set(self.seeds)
        if shared:
            raise ValueError(f"seed {min(shared)} is a tuning seed; compare with other seeds")
        if self.learning_rates and "--learning_rate" in self.overrides:
            raise ValueError("learning_rate is set and to be chosen; leave one of them out")


@dataclass(frozen=True)
class VariantResult:
    """One variant: held-out rewards (problems, samples) and metrics, per seed."""

    name: str
    rewards: tuple[Rewards, ...]
    metrics: tuple[Rows, ...]
    choice: Choice | None = None  # of its learning rate

    @property
    def per_problem(self) -> Rewards:
        """Mean over samples, (seeds, problems)."""
        return np.stack([rewards.mean(1) for rewards in self.rewards])


@dataclass(frozen=True)
class TrainingResults:
    """Held-out rewards (problems, samples) of the model at its start, and every variant's result.

    failed: the reason by the name of each run that failed; its variant has no result.
    """

    start: Rewards
    variants: tuple[VariantResult, ...]
    failed: Mapping[str, str] = field(default_factory=dict)


def run_training(study: TrainingStudy, out: Path, *, jobs: int, say: Say) -> TrainingResults:
    """Do what is missing and return all results.

    jobs: runs at a time; they share the cores and the GPUs. A run that fails does not end the others.

    Raises ValueError if `out` holds another study or is in use, or naming the run and its log if the
    model at its start or the first variant has no result.
    """
    with lock(out, "another study"):
        # Seeds and variants may be added to a study later; everything else must stay.
        free = ["config", "variants", "seeds", "reach"]
        if not study.learning_rates:
            free.append("early_steps")  # the report's only, if no rates were chosen by it
        check_settings(out / STUDY_FILE, asdict(study), what="a study", free=free)
        with atomic_write(
            out / CONFIG_FILE
        ) as partial:  # what runs read, if it is edited meanwhile
            text = yaml.safe_dump(dict(study.settings), sort_keys=False)
            partial.write_text(text, encoding="utf-8")
        start = out / "start"
        evaluation = _evaluation(study, study.start_model, start / "eval")
        first = Run("the model at its start", start, (Command(evaluation, EVAL_LOG),))
        runs = {
            (variant, seed): table_run(study, out, variant, seed)
            for seed in study.seeds
            for variant in study.variants
        }
        devices: list[str] = []  # none is needed to report what was run elsewhere
        if not all(run.finished for run in (first, *runs.values())):
            devices = visible_devices(study.device)
            note_environment(out, (*PACKAGES, "trl"))
        failed = run_all([first], jobs=1, devices=devices, say=say)
        choices: dict[Variant, Choice] = {}
        if not failed and study.learning_rates:
            choices, failed = _tune(study, out, jobs=jobs, devices=devices, say=say)
            runs = {
                (variant, seed): _with_rate(run, choices[variant].rate)
                for (variant, seed), run in runs.items()
                if variant in choices
            }
        if first.name not in failed:
            failed |= run_all(list(runs.values()), jobs=jobs, devices=devices, say=say)
        complete = [
            variant
            for variant in study.variants
            if all((variant, s) in runs and runs[variant, s].finished for s in study.seeds)
        ]
        if not first.finished or study.variants[0] not in complete:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise ValueError(f"{reasons}; run the study again to go on")
        results = tuple(_result(study, out, variant, choices.get(variant)) for variant in complete)
        return TrainingResults(read_rewards(start / "eval"), results, failed)


def table_run(study: TrainingStudy, out: Path, variant: Variant, seed: int) -> Run:
    """The training of a variant with a seed, and its test."""
    folder = _folder(out, variant, seed)
    evaluation = Command(_evaluation(study, str(folder), folder / "eval"), EVAL_LOG)
    train = _training(study, out, variant, seed, folder)
    return Run(f"{variant.name}, seed {seed}", folder, (train, evaluation))


def _tune(
    study: TrainingStudy, out: Path, *, jobs: int, devices: list[str], say: Say
) -> tuple[dict[Variant, Choice], dict[str, str]]:
    """Every variant's learning rate, and the runs that failed. A choice that was made before is kept."""
    files = {variant: out / variant.name / RATE_FILE for variant in study.variants}
    cells = {
        (variant, rate, seed): _tuning_run(study, out, variant, rate, seed)
        for seed in study.tuning_seeds
        for variant in study.variants
        for rate in study.learning_rates
        if not files[variant].exists()
    }
    failed = run_all(list(cells.values()), jobs=jobs, devices=devices, say=say)
    choices: dict[Variant, Choice] = {}
    for variant, file in files.items():
        if file.exists():
            kept = read_json(file, dict)
            tried = {float(rate): values for rate, values in kept["tried"].items()}
            choices[variant] = Choice(kept["rate"], tried)
            continue
        tried = {
            rate: [_early(study, cells[variant, rate, seed]) for seed in study.tuning_seeds]
            for rate in study.learning_rates
        }
        try:
            choices[variant] = choose_rate(tried)
        except ValueError as error:
            failed[variant.name] = str(error)
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(choices[variant]))
        say(f"{variant.name}: learning rate {choices[variant].rate:g}")
    return choices, failed


def _tuning_run(study: TrainingStudy, out: Path, variant: Variant, rate: float, seed: int) -> Run:
    folder = out / "tuning" / variant.name / f"rate-{rate:g}" / f"seed-{seed}"
    name = f"{variant.name}, learning rate {rate:g}, tuning seed {seed}"
    return _with_rate(Run(name, folder, (_training(study, out, variant, seed, folder),)), rate)


def _early(study: TrainingStudy, run: Run) -> float | None:
    if not run.finished:
        return None
    return early_reward(read_metrics(run.folder / METRICS_FILE), study.early_steps)


def _training(
    study: TrainingStudy, out: Path, variant: Variant, seed: int, folder: Path
) -> Command:
    on_device = {"cpu": ["--use_cpu", "true"], "cuda": ["--use_cpu", "false"]}
    options = [
        *variant.overrides,
        *study.overrides,
        *on_device.get(study.device.partition(":")[0], []),
    ]
    words = ["train", str(out / CONFIG_FILE), *options, "--seed", str(seed)]
    return Command((*words, "--output_dir", str(folder)), TRAIN_LOG)


def _with_rate(run: Run, rate: float) -> Run:
    """The run with this learning rate in its training."""
    train, *rest = run.commands
    return replace(
        run, commands=(replace(train, words=(*train.words, "--learning_rate", f"{rate:g}")), *rest)
    )


def _folder(out: Path, variant: Variant, seed: int) -> Path:
    return out / variant.name / f"seed-{seed}"


def _result(
    study: TrainingStudy, out: Path, variant: Variant, choice: Choice | None
) -> VariantResult:
    folders = [_folder(out, variant, seed) for seed in study.seeds]
    return VariantResult(
        variant.name,
        tuple(read_rewards(folder / "eval") for folder in folders),
        tuple(tuple(read_metrics(folder / METRICS_FILE)) for folder in folders),
        choice,
    )


def _evaluation(study: TrainingStudy, model: str, out: Path) -> tuple[str, ...]:
    device = "cuda" if study.device.startswith("cuda") else study.device  # the one that it sees
    options = ["eval", "--model", model, "--task", study.task, "--split", study.split]
    options += ["--responses", str(study.samples), "--temperature", str(study.temperature)]
    options += ["--max-new-tokens", str(study.max_new_tokens), "--batch", str(study.batch)]
    options += ["--dtype", "float32", "--device", device, "--out", str(out)]
    if study.trust_remote_code:
        options += ["--trust-remote-code"]
    if study.source:
        options += ["--source", study.source]
    if study.problems:
        options += ["--problems", str(study.problems)]
    return tuple(options)

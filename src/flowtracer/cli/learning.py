"""`flowtracer study training`: which method learns faster?"""

from pathlib import Path
from typing import Annotated

import typer

from flowtracer.cli.options import CONFIG, needing
from flowtracer.cli.study_options import OUT, command_line


def training(
    context: typer.Context,
    runs: Annotated[
        Path,
        typer.Argument(metavar="CONFIG", help="YAML file of the runs; see `flowtracer train`."),
    ],
    *,
    config: Annotated[Path | None, CONFIG] = None,
    out: Annotated[Path, OUT] = Path("runs/study"),
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="grpo, a scorer, or a rule such as flow@end=bottom,emphasis=1.5/3; repeat it. The first "
            "is what the others are compared with."
        ),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Repeat it. Default: 0, 1, 2.")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE,VALUE of the credit, such as emphasis=1.2,1.5; repeat it."),
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE, an option of every run, such as max_steps=60; repeat it."),
    ] = None,
    learning_rates: Annotated[
        str | None,
        typer.Option(help="Rates such as 1e-4/2e-4/4e-4, of which each method gets its best one."),
    ] = None,
    tuning_seeds: Annotated[
        str | None,
        typer.Option(help="Seeds such as 100/101 to choose rates with, and for nothing else."),
    ] = None,
    problems: Annotated[int, typer.Option(min=1, help="Held-out problems.")] = 1000,
    samples: Annotated[int, typer.Option(min=1, help="Responses per held-out problem.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="Of the held-out test.")] = 1.0,
    test_task: Annotated[str | None, typer.Option(help="Default: the task of the config.")] = None,
    split: Annotated[str, typer.Option(help="Split of the held-out test.")] = "test",
    batch: Annotated[int, typer.Option(min=1, help="Responses made together in the test.")] = 250,
    early_steps: Annotated[
        int, typer.Option(min=1, help="Steps whose mean reward is the primary measure.")
    ] = 60,
    reach: Annotated[
        float | None, typer.Option(help="Report the step at which this mean reward is reached.")
    ] = None,
    foretold: Annotated[
        Path | None,
        typer.Option(help="Folder of a `study gradient`, to be held against what is seen."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Runs at a time; they share the cores and the GPUs.")
    ] = 1,
    device: Annotated[
        str, typer.Option(help="auto (as the config says), cpu, cuda (all GPUs in turns), cuda:1.")
    ] = "auto",
) -> None:
    """Train every method with every seed on one budget, test them, write a table and a figure.

    Run it again after a kill and it goes on. Any other option goes to every run.
    """
    with needing("train"):
        import torch
        import yaml

        from flowtracer.studies.training.report import write_report
        from flowtracer.studies.training.study import TrainingStudy, run_training
        from flowtracer.studies.training.tuning import parse_rates, parse_seeds
        from flowtracer.studies.training.variants import variants
        from flowtracer.training.arguments import read_settings, trusts_code
    chosen = variants(method or ["grpo", "flow"], vary or [])
    overrides = [*_options(set or []), *context.args]
    for variant in chosen:  # a wrong setting is found now, not hours later
        settings = read_settings(runs, [*overrides, *variant.overrides])
    if device == "auto" and settings.trainer.use_cpu:
        device = "cpu"
    elif device == "auto" and torch.cuda.is_available():
        device = "cuda"
    study = TrainingStudy(
        config=str(runs),
        variants=tuple(chosen),
        seeds=tuple(seed or [0, 1, 2]),
        settings=yaml.safe_load(runs.read_text(encoding="utf-8")),
        overrides=tuple(overrides),
        start_model=settings.model.model_name_or_path or "embedded",
        task=test_task or settings.task.task,
        source=settings.task.task_source,
        split=split,
        problems=problems,
        samples=samples,
        temperature=temperature,
        max_new_tokens=settings.trainer.max_completion_length or 1024,
        batch=batch,
        trust_remote_code=trusts_code(settings.trainer, settings.model),
        early_steps=early_steps,
        reach=reach,
        learning_rates=parse_rates(learning_rates) if learning_rates else (),
        tuning_seeds=parse_seeds(tuning_seeds) if tuning_seeds else (),
        device=device,
    )
    results = run_training(study, out, jobs=jobs, say=lambda line: print(line, flush=True))
    table = write_report(study, results, out, command=command_line(), foretold=foretold)
    print(table.read_text(encoding="utf-8"))
    print(f"Table, figures and all runs are in {out}")
    if results.failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in results.failed.items())
        raise ValueError(f"{reasons}; run the study again to go on")


def _options(settings: list[str]) -> list[str]:
    """KEY=VALUE as options of `flowtracer train`."""
    options = []
    for setting in settings:
        key, _, value = setting.partition("=")
        if not key or not value:
            raise ValueError(f"--set {setting!r} is not KEY=VALUE; such as max_steps=60")
        options += [f"--{key}", value]
    return options

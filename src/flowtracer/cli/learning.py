"""`flowtracer study training`: which method learns faster?"""

from pathlib import Path
from typing import Annotated

import typer

from flowtracer.cli import options
from flowtracer.cli.extras import needing
from flowtracer.cli.progress import silence_training
from flowtracer.cli.study_run import command_line
from flowtracer.option_names import normal_name, read_settings_file


def training(
    context: typer.Context,
    runs: Annotated[
        Path,
        typer.Argument(metavar="RUNS", help="YAML file of the runs; see `flowtracer train`."),
    ],
    *,
    method: Annotated[
        list[str] | None,
        options.option(
            options.RUNS,
            "grpo, a scorer, or a rule such as flow@end=bottom,emphasis=1.5/3; repeat it. The first is "
            "what the others are compared with.",
        ),
    ] = None,
    seed: Annotated[
        list[int] | None, options.option(options.RUNS, "Of the runs; repeat it. Default: 0, 1, 2.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        options.option(
            options.RUNS, "KEY=VALUE,VALUE of the credit, such as emphasis=1.2,1.5; repeat it."
        ),
    ] = None,
    set: Annotated[
        list[str] | None,
        options.option(
            options.RUNS, "KEY=VALUE, an option of every run, such as max_steps=60; repeat it."
        ),
    ] = None,
    learning_rates: Annotated[
        str | None,
        options.option(
            options.RUNS, "Rates such as 1e-4/2e-4/4e-4, of which each method gets its best one."
        ),
    ] = None,
    tuning_seeds: Annotated[
        str | None,
        options.option(
            options.RUNS, "Seeds such as 100/101 to choose rates with, and for nothing else."
        ),
    ] = None,
    jobs: Annotated[
        int,
        options.option(options.RUNS, "Runs at a time; they share the cores and the GPUs.", min=1),
    ] = 1,
    device: Annotated[
        str,
        options.option(
            options.RUNS,
            "auto (as the config says), cpu, cuda (all GPUs in turns), cuda:1.",
        ),
    ] = "auto",
    test_task: Annotated[
        str | None, options.option(options.TEST, "Default: the task of the runs.")
    ] = None,
    test_split: Annotated[str, options.option(options.TEST, "Split of the test.")] = "test",
    test_problems: Annotated[
        int, options.option(options.TEST, "Problems of the test.", min=1)
    ] = 1000,
    test_responses: Annotated[
        int, options.option(options.TEST, "Responses per problem.", min=1)
    ] = 1,
    test_temperature: Annotated[float, options.option(options.TEST, "0 is greedy.", min=0.0)] = 1.0,
    test_batch: Annotated[
        int, options.option(options.TEST, "Responses generated together.", min=1)
    ] = 250,
    early_steps: Annotated[
        int, options.option(options.STUDY, "Steps whose mean reward is the primary measure.", min=1)
    ] = 60,
    reach: Annotated[
        float | None,
        options.option(options.STUDY, "Report the step at which this mean reward is reached."),
    ] = None,
    foretold: Annotated[
        Path | None,
        options.option(
            options.STUDY, "Folder of a `study gradient`, to be compared with the results."
        ),
    ] = None,
    out: options.Out = Path("runs/training"),
    config: options.Config = None,
) -> None:
    """Train every method with every seed on one budget, test them, write a table and a figure.

    Run it again after a kill and it continues. Any other option goes to every run.
    """
    run_settings = read_settings_file(runs)  # a wrong file is told before anything is imported
    silence_training()
    with needing("train"):
        import torch

        from flowtracer.studies.terminal import print_report
        from flowtracer.studies.training.report import write_report
        from flowtracer.studies.training.study import TrainingStudy, run_training
        from flowtracer.studies.training.tuning import parse_rates, parse_seeds
        from flowtracer.studies.training.variants import variants
        from flowtracer.training.arguments import read_settings, trusts_code
    chosen = variants(method or ["grpo", "flow"], vary or [])
    overrides = [*_options(set or []), *map(_spelled, context.args)]
    others = [str(parameter.name) for parameter in context.command.params]
    for variant in chosen:  # a wrong setting is found now, not hours later
        settings = read_settings(runs, [*overrides, *variant.overrides], others=others)
    if device == "auto" and settings.trainer.use_cpu:
        device = "cpu"
    elif device == "auto" and torch.cuda.is_available():
        device = "cuda"
    study = TrainingStudy(
        config=str(runs),
        variants=tuple(chosen),
        seeds=tuple(seed or [0, 1, 2]),
        settings=run_settings,
        overrides=tuple(overrides),
        start_model=settings.model.model_name_or_path or "embedded",
        task=test_task or settings.task.task,
        source=settings.task.source,
        split=test_split,
        problems=test_problems,
        samples=test_responses,
        temperature=test_temperature,
        max_new_tokens=settings.trainer.max_completion_length or 1024,
        batch=test_batch,
        trust_remote_code=trusts_code(settings.trainer, settings.model),
        early_steps=early_steps,
        reach=reach,
        learning_rates=parse_rates(learning_rates) if learning_rates else (),
        tuning_seeds=parse_seeds(tuning_seeds) if tuning_seeds else (),
        device=device,
    )
    results = run_training(study, out, jobs=jobs, say=lambda line: print(line, flush=True))
    table = write_report(study, results, out, command=command_line(), foretold=foretold)
    print_report(table)
    print(f"Table, figures and all runs are in {out}")
    if results.failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in results.failed.items())
        raise ValueError(f"{reasons}; run the study again to go on")


def _spelled(word: str) -> str:
    """An option of `flowtracer train` in the spelling that a study's settings keep, with underscores."""
    name, equals, value = word.partition("=")
    return f"--{normal_name(name)}{equals}{value}" if name.startswith("--") else word


def _options(settings: list[str]) -> list[str]:
    """KEY=VALUE as options of `flowtracer train`."""
    words = []
    for setting in settings:
        key, _, value = setting.partition("=")
        if not key or not value:
            raise ValueError(f"--set {setting!r} is not KEY=VALUE; such as max_steps=60")
        words += [_spelled(f"--{key}"), value]
    return words

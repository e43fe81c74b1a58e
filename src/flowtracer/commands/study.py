"""`flowtracer study`: claims that anyone can rerun."""

from pathlib import Path
from typing import Annotated

import typer

from flowtracer.commands.extras import needing

app = typer.Typer(help="Rerun a claim: resumable, with intervals.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def training(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="YAML file of the runs; see `flowtracer train`.")],
    out: Annotated[Path, typer.Option(help="Folder of the study.")] = Path("runs/study"),
    method: Annotated[
        list[str] | None,
        typer.Option(help="grpo, flow or a scorer; repeat it. The first is the rest's measure."),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Repeat it. Default: 0, 1, 2.")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE,VALUE of the credit, such as emphasis=1.2,1.5; repeat it."),
    ] = None,
    problems: Annotated[int, typer.Option(min=1, help="Held-out problems.")] = 1000,
    samples: Annotated[int, typer.Option(min=1, help="Responses per held-out problem.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="Of the held-out test.")] = 1.0,
    test_task: Annotated[str | None, typer.Option(help="Default: the task of the config.")] = None,
    split: Annotated[str, typer.Option(help="Split of the held-out test.")] = "test",
    batch: Annotated[int, typer.Option(min=1, help="Responses made together in the test.")] = 250,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time; they share the cores.")] = 1,
) -> None:
    """Train every method with every seed on one budget, test them, write a table and a figure.

    Run it again after a kill and it goes on. Any other option goes to every run.
    """
    with needing("train"):
        from flowtracer.studies.matrix import variants
        from flowtracer.studies.training import TrainingStudy, run_study
        from flowtracer.training.arguments import read_settings
    chosen = variants(method or ["grpo", "flow"], vary or [])
    for variant in chosen:  # a wrong setting is found now, not hours later
        settings = read_settings(config, [*context.args, *variant.overrides])
    study = TrainingStudy(
        config=str(config),
        variants=tuple(chosen),
        seeds=tuple(seed or [0, 1, 2]),
        overrides=tuple(context.args),
        start_model=settings.model.model_name_or_path or "embedded",
        task=test_task or settings.task.task,
        source=settings.task.task_source,
        split=split,
        problems=problems,
        samples=samples,
        temperature=temperature,
        max_new_tokens=settings.trainer.max_completion_length or 1024,
        batch=batch,
    )
    table = run_study(study, out, jobs=jobs, say=lambda line: print(line, flush=True))
    print(table.read_text())
    print(f"Table, figure and all runs are in {out}")

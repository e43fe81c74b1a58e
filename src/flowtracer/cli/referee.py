"""`flowtracer study value` and `gradient`: is a credit rule right?"""

from pathlib import Path
from typing import Annotated

import typer

from flowtracer.cli.options import CONFIG, needing
from flowtracer.cli.progress import progress_bar
from flowtracer.cli.study_options import (
    DEVICE,
    DTYPE,
    LENGTH,
    MODEL,
    OUT,
    SEED,
    SOURCE,
    SPLIT,
    TASK,
    TRUST,
    command_line,
)

MOST = 1_000_000  # of what is counted, our choice: more is a slip of the keyboard


def value(
    *,
    config: Annotated[Path | None, CONFIG] = None,
    out: Annotated[Path, OUT] = Path("runs/value"),
    model: Annotated[str, MODEL] = "embedded",
    task: Annotated[str, TASK] = "countdown",
    source: Annotated[str | None, SOURCE] = None,
    split: Annotated[str, SPLIT] = "test",
    problems: Annotated[int, typer.Option(min=2, help="Problems of the task to use.")] = 100,
    responses: Annotated[int, typer.Option(min=1, help="Sampled responses a problem.")] = 2,
    continuations: Annotated[
        int, typer.Option(min=2, help="Continuations of each value; an even number.")
    ] = 64,
    at: Annotated[
        str, typer.Option(help="decisions (uncertain tokens), or lines (ends of lines, sentences).")
    ] = "decisions",
    threshold: Annotated[
        float, typer.Option(help="A token of less probability is a decision.")
    ] = 0.98,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help="SCORER[@KEY=VALUE,...] to hold against credit; repeat it. Default: all."
        ),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option(help="JSON Lines file of your own scores, docs/referee.md; repeat it."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Of responses and continuations.")] = 1.0,
    max_new_tokens: Annotated[int, LENGTH] = 512,
    seed: Annotated[int, SEED] = 0,
    dtype: Annotated[str, DTYPE] = "auto",
    device: Annotated[str, DEVICE] = "auto",
    trust_remote_code: Annotated[bool, TRUST] = False,
) -> None:
    """True credit by Monte Carlo: which tokens changed the chance of being right?

    Holds every scorer against it, docs/referee.md. Run it again after a kill and it goes on.
    """
    with needing("train"):
        from flowtracer.models import load
        from flowtracer.scorers.table import SCORERS
        from flowtracer.studies.value.report import read_scores, write_report
        from flowtracer.studies.value.study import ValueStudy, run_value
        from flowtracer.tasks import load_task
    study = ValueStudy(
        model,
        task,
        tuple(scorer or [*SCORERS, "flow@shuffled=yes"]),
        split=split,
        problems=problems,
        responses=responses,
        continuations=continuations,
        at=at,
        threshold=threshold,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        seed=seed,
        dtype=dtype,
    )
    questions = load_task(task, split=split, source=source, seed=seed)
    with progress_bar() as progress:
        loaded = load(model, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        rows = run_value(study, loaded, questions, out, progress=progress)
    brought = {path.stem: read_scores(path, rows) for path in scores or []}
    table = write_report(
        study, rows, out, command=command_line(), brought=brought, tokenizer=loaded.tokenizer
    )
    print(table.read_text(encoding="utf-8"))
    print(f"Table, pictures and values.parquet are in {out}")


def gradient(
    *,
    config: Annotated[Path | None, CONFIG] = None,
    out: Annotated[Path, OUT] = Path("runs/gradient"),
    model: Annotated[str, MODEL] = "embedded",
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="Checkpoint of a run, to see alignment while it learns; repeat it."),
    ] = None,
    task: Annotated[str, TASK] = "countdown",
    source: Annotated[str | None, SOURCE] = None,
    split: Annotated[str, SPLIT] = "train",
    rollouts: Annotated[
        Path | None,
        typer.Option(
            help="JSON Lines or Parquet of rollouts with rewards, instead of drawing them."
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="SCORER[@OPTION=VALUE,...], VALUE/VALUE for several; repeat it. "
            "Default: the paper's rule, its bottom, and every scorer."
        ),
    ] = None,
    batches: Annotated[int, typer.Option(min=2, max=MOST, help="Batches of rollouts.")] = 16,
    problems: Annotated[int, typer.Option(min=1, max=MOST, help="Problems of a batch.")] = 24,
    responses: Annotated[int, typer.Option(min=2, max=MOST, help="Responses a problem.")] = 8,
    temperature: Annotated[float, typer.Option(help="Of responses.")] = 1.0,
    max_new_tokens: Annotated[int, LENGTH] = 512,
    parameters: Annotated[
        str, typer.Option(help="all, last:N (layers), lora, or auto (by the model's size).")
    ] = "auto",
    coordinates: Annotated[
        int, typer.Option(min=1, help="Numbers of the gradient that are compared, at random.")
    ] = 1 << 18,
    seed: Annotated[int, SEED] = 0,
    dtype: Annotated[str, DTYPE] = "float32",
    device: Annotated[str, DEVICE] = "auto",
    trust_remote_code: Annotated[bool, TRUST] = False,
) -> None:
    """Alignment: does a rule's gradient point where the reward's own does?

    All rules on the same rollouts of one policy, docs/referee.md. Run it again after a kill and it goes on.
    """
    with needing("train"):
        import json

        from flowtracer.credit.rules import parse_rules
        from flowtracer.models import load
        from flowtracer.scorers.table import SCORERS
        from flowtracer.storage import sha256
        from flowtracer.studies.gradient.report import write_checkpoints, write_report
        from flowtracer.studies.gradient.rollouts import batches_in, read_groups
        from flowtracer.studies.gradient.study import GradientStudy, run_gradient
        from flowtracer.tasks import load_task
    chosen = rule or ["flow@end=top/bottom", *(name for name in SCORERS if name != "flow")]
    rules = [one.name for one in parse_rules(["uniform", *(r for r in chosen if r != "uniform")])]
    questions = load_task(task, split=split, source=source, seed=seed)
    figures = {}
    for policy in checkpoint or [model]:
        folder = out / Path(policy).name if checkpoint else out
        loaded = load(policy, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        groups = None
        if rollouts is not None:
            groups = read_groups(loaded, rollouts, most_tokens=32_768)
            batches = batches_in(groups, problems, batches)
        study = GradientStudy(
            policy,
            task,
            tuple(rules),
            split=split,
            batches=batches,
            problems=problems,
            responses=responses,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            parameters=parameters,
            coordinates=coordinates,
            seed=seed,
            dtype=dtype,
            rollouts=None if rollouts is None else sha256(rollouts),
        )
        with progress_bar() as progress:
            rows = run_gradient(study, loaded, questions, folder, groups=groups, progress=progress)
        table = write_report(study, rows, folder, command=command_line())
        print(table.read_text(encoding="utf-8"))
        figures[Path(policy).name] = json.loads((folder / "figures.json").read_text("utf-8"))
    if checkpoint:
        print(write_checkpoints(figures, out, command=command_line()).read_text(encoding="utf-8"))
    print(f"Table, figure and a row a batch are in {out}")

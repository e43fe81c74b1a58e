"""`flowtracer study value` and `gradient`: is a credit rule right?"""

from pathlib import Path
from typing import Annotated, Any

from flowtracer.cli import options
from flowtracer.cli.extras import needing
from flowtracer.cli.progress import progress_bar, silence_transformers
from flowtracer.cli.study_run import command_line

MOST = 1_000_000  # of what is counted, our choice: more is a slip of the keyboard


def value(
    *,
    model: options.Model = "embedded",
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    task: options.Task = "countdown",
    source: options.Source = None,
    split: options.Split = "test",
    problems: Annotated[
        int, options.option(options.TASK, "Problems of the task to use.", min=2)
    ] = 100,
    responses: Annotated[
        int, options.option(options.GENERATION, "Sampled responses per problem.", min=1)
    ] = 2,
    temperature: options.Temperature = 1.0,
    max_new_tokens: options.MaxNewTokens = 512,
    seed: options.Seed = 0,
    continuations: Annotated[
        int,
        options.option(options.GENERATION, "Continuations of each value; an even number.", min=2),
    ] = 64,
    at: Annotated[
        str,
        options.option(
            options.STUDY, "decisions (uncertain tokens), or lines (ends of lines, sentences)."
        ),
    ] = "decisions",
    threshold: Annotated[
        float, options.option(options.STUDY, "A token of less probability is a decision.")
    ] = 0.98,
    line_tokens: Annotated[
        int,
        options.option(
            options.STUDY, "With lines: tokens of one at least; shorter ones go on with the next."
        ),
    ] = 1,
    scorer: Annotated[
        list[str] | None,
        options.option(
            options.STUDY, "SCORER[@KEY=VALUE,...] to compare with credit; repeat it. Default: all."
        ),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        options.option(
            options.STUDY, "JSON Lines file of your own scores, docs/referee.md; repeat it."
        ),
    ] = None,
    out: options.Out = Path("runs/value"),
    config: options.Config = None,
) -> None:
    """True credit by Monte Carlo: which tokens changed the chance of being right?

    Compares every scorer with it, docs/referee.md. Run it again after a kill and it continues.
    """
    with needing("train"):
        from flowtracer.models import load
        from flowtracer.scorers.table import SCORERS
        from flowtracer.studies.terminal import print_report
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
        line_tokens=line_tokens,
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
    print_report(table)
    print(f"Table, pictures and values.parquet are in {out}")


def gradient(
    *,
    model: options.Model = "embedded",
    checkpoint: Annotated[
        list[str] | None,
        options.option(
            options.MODEL, "Checkpoint of a run, to see alignment while it learns; repeat it."
        ),
    ] = None,
    frozen: Annotated[
        str | None,
        options.option(
            options.MODEL,
            "Model that scores every rule's tokens as well, such as the run's first policy.",
        ),
    ] = None,
    dtype: options.Dtype = "float32",
    device: options.Device = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    task: options.Task = "countdown",
    source: options.Source = None,
    split: options.Split = "train",
    rollouts: Annotated[
        Path | None,
        options.option(
            options.TASK,
            "JSON Lines or Parquet of rollouts with rewards, instead of sampling them.",
        ),
    ] = None,
    batches: Annotated[
        int, options.option(options.TASK, "Batches of rollouts.", min=2, max=MOST)
    ] = 16,
    problems: Annotated[
        int, options.option(options.TASK, "Problems of a batch.", min=1, max=MOST)
    ] = 24,
    responses: Annotated[
        int, options.option(options.GENERATION, "Responses per problem.", min=2, max=MOST)
    ] = 8,
    temperature: options.Temperature = 1.0,
    max_new_tokens: options.MaxNewTokens = 512,
    seed: options.Seed = 0,
    rule: Annotated[
        list[str] | None,
        options.option(
            options.STUDY,
            "SCORER[@OPTION=VALUE,...], VALUE/VALUE for several; repeat it. "
            "Default: the paper's rule, its bottom, and every scorer.",
        ),
    ] = None,
    parameters: Annotated[
        str,
        options.option(options.STUDY, "all, last:N (layers), lora, or auto (by the model's size)."),
    ] = "auto",
    coordinates: Annotated[
        int,
        options.option(
            options.STUDY, "Numbers of the gradient that are compared, at random.", min=1
        ),
    ] = 1 << 18,
    out: options.Out = Path("runs/gradient"),
    config: options.Config = None,
) -> None:
    """Alignment: does a rule's gradient point where the reward's own does?

    All rules on the same rollouts of one policy, docs/referee.md. Run it again after a kill and it continues.
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
        from flowtracer.studies.terminal import print_report
        from flowtracer.tasks import load_task
    chosen = rule or ["flow@end=top/bottom", *(name for name in SCORERS if name != "flow")]
    parsed = parse_rules(["uniform", *(text for text in chosen if text != "uniform")])
    rules = [credit_rule.name for credit_rule in parsed]
    questions = load_task(task, split=split, source=source, seed=seed)
    loading: dict[str, Any] = {
        "dtype": dtype,
        "device": device,
        "trust_remote_code": trust_remote_code,
    }
    silence_transformers()
    scoring = None if frozen is None else load(frozen, **loading)
    figures = {}
    for policy in checkpoint or [model]:
        folder = out / Path(policy).name if checkpoint else out
        loaded = load(policy, **loading)
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
            frozen=frozen,
        )
        with progress_bar() as progress:
            rows = run_gradient(
                study, loaded, questions, folder, groups=groups, frozen=scoring, progress=progress
            )
        table = write_report(study, rows, folder, command=command_line())
        print_report(table)
        figures[Path(policy).name] = json.loads((folder / "figures.json").read_text("utf-8"))
    if checkpoint:
        print_report(write_checkpoints(figures, out, command=command_line()))
    print(f"Table, figure and a row per batch are in {out}")

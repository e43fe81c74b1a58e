"""`flowtracer study`: claims that anyone can rerun."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from flowtracer.cli import options
from flowtracer.cli.extras import needing
from flowtracer.cli.learning import training
from flowtracer.cli.progress import progress_bar
from flowtracer.cli.referee import gradient, value
from flowtracer.cli.study_run import command_line

app = typer.Typer(
    help="Measure what credit rules and knockouts do, with confidence intervals; resumable.",
    no_args_is_help=True,
)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(training)
app.command()(value)
app.command()(gradient)


@app.command()
def causal(
    *,
    model: options.Model = "embedded",
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    task: options.Task = "countdown",
    source: options.Source = None,
    split: options.Split = "test",
    problems: options.Problems = 200,
    scorer: Annotated[
        list[str] | None,
        options.option(
            options.STUDY,
            "SCORER[@KEY=VALUE,...], such as flow@end=bottom or random@seed=1; repeat it. "
            "Default: flow, flow@end=bottom, and random with seeds 0, 1, 2.",
        ),
    ] = None,
    ratio: Annotated[
        list[float] | None,
        options.option(options.STUDY, "Ratio of tokens to knock out; repeat it. Default: 0.2."),
    ] = None,
    protocol: Annotated[
        str,
        options.option(
            options.STUDY, "answer (only it is regenerated) or rest (everything after a cut)."
        ),
    ] = "answer",
    cut: Annotated[
        list[float] | None,
        options.option(
            options.STUDY,
            "Where to cut, as a ratio of the way to the answer, protocol rest; repeat it. "
            "Default: 0.5.",
        ),
    ] = None,
    excluded: Annotated[
        list[int] | None,
        options.option(
            options.STUDY,
            "Last tokens that are never knocked out; repeat it. Default: 10 in front of the answer "
            "(protocol answer, side response), else 0.",
        ),
    ] = None,
    side: Annotated[
        str,
        options.option(
            options.STUDY,
            "Whose tokens are knocked out: response, prompt, or user (what the user wrote of it).",
        ),
    ] = "response",
    regenerate: Annotated[
        bool,
        options.option(options.STUDY, "Regenerate; without it, only log-probabilities are taken."),
    ] = True,
    max_new_tokens: options.MaxNewTokens = 512,
    batch: Annotated[
        int,
        options.option(options.GENERATION, "Problems generated together.", min=1),
    ] = 4,
    seed: options.Seed = 0,
    out: options.Out = Path("runs/causal"),
    solutions: options.Solutions = None,
    config: options.Config = None,
) -> None:
    """Knock out the tokens that a scorer takes: does the answer change?

    A sceptic's test of any scorer. Run it again after a kill and it continues.
    """
    with needing("train"):
        from flowtracer.studies.causal.report import write_report
        from flowtracer.studies.causal.settings import SCORERS, CausalStudy
        from flowtracer.studies.causal.study import run_causal
        from flowtracer.studies.solutions import SolutionSettings
    study = CausalStudy(
        SolutionSettings(model, task, split, max_new_tokens, seed, dtype),
        problems,
        scorers=tuple(scorer or SCORERS),
        ratios=tuple(ratio or [0.2]),
        protocol=protocol,
        cuts=tuple(cut or [0.5]),
        excluded=tuple(excluded or ()),
        regenerate=regenerate,
        batch=batch,
        side=side,  # type: ignore[arg-type]
    )
    loading = {"device": device, "trust_remote_code": trust_remote_code}
    _run(run_causal, write_report, study, out, source, solutions, loading)


@app.command()
def formats(
    *,
    model: options.Model = "embedded",
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    task: options.Task = "countdown",
    source: options.Source = None,
    split: options.Split = "test",
    problems: options.Problems = 200,
    scorer: options.StudyScorer = "flow",
    max_new_tokens: options.MaxNewTokens = 512,
    seed: options.Seed = 0,
    out: options.Out = Path("runs/formats"),
    solutions: options.Solutions = None,
    config: options.Config = None,
) -> None:
    """Reword the answers of a model's solutions: are the same tokens chosen?

    Run it again after a kill and it continues.
    """
    with needing("train"):
        from flowtracer.studies.formats import FormatStudy, run_formats, write_report
        from flowtracer.studies.solutions import SolutionSettings
    settings = SolutionSettings(model, task, split, max_new_tokens, seed, dtype)
    study = FormatStudy(settings, problems, scorer)
    loading = {"device": device, "trust_remote_code": trust_remote_code}
    _run(run_formats, write_report, study, out, source, solutions, loading)


@app.command()
def shape(
    *,
    model: options.Model = "embedded",
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    task: options.Task = "countdown",
    source: options.Source = None,
    split: options.Split = "test",
    problems: options.Problems = 200,
    scorer: options.StudyScorer = "flow",
    max_new_tokens: options.MaxNewTokens = 512,
    seed: options.Seed = 0,
    out: options.Out = Path("runs/shape"),
    solutions: options.Solutions = None,
    config: options.Config = None,
) -> None:
    """Which tokens carry the flow, how much of it, and how far hubs are apart.

    Run it again after a kill and it continues.
    """
    with needing("train"):
        from flowtracer.studies.shape.report import write_report
        from flowtracer.studies.shape.study import ShapeStudy, run_shape
        from flowtracer.studies.solutions import SolutionSettings
    settings = SolutionSettings(model, task, split, max_new_tokens, seed, dtype)
    study = ShapeStudy(settings, problems, scorer)
    loading = {"device": device, "trust_remote_code": trust_remote_code}
    _run(run_shape, write_report, study, out, source, solutions, loading)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of one study or of several.")],
) -> None:
    """Put finished studies on one page: report.html, which needs no other file, and report.md."""
    from flowtracer.studies.page import write_report

    markdown, page = write_report(folder)
    print(f"Wrote {markdown} and {page}")


def _run(
    run_study: Callable[..., list[dict[str, Any]]],
    write_report: Callable[..., Path],
    study: Any,
    out: Path,
    source: str | None,
    solutions: Path | None,
    loading: dict[str, Any],
) -> None:
    """Run a study of a model's solutions, write its report and print the table.

    loading: further options of `load`.
    """
    from flowtracer.models import load
    from flowtracer.studies.terminal import print_report
    from flowtracer.tasks import load_task

    settings = study.solutions
    task = load_task(settings.task, split=settings.split, source=source, seed=settings.seed)
    with progress_bar() as progress:
        model = load(settings.model, dtype=settings.dtype, **loading)
        rows = run_study(study, model, task, out, solutions_folder=solutions, progress=progress)
    try:
        table = write_report(study, rows, out, command=command_line())
    except (AttributeError, LookupError, OverflowError, StopIteration, TypeError) as error:
        raise ValueError(
            f"{out / 'rows.jsonl'}: no report can be made of its rows ({type(error).__name__}: {error}); "
            "if the file was changed, delete it and run the command again"
        ) from error
    print_report(table)
    print(f"Table, figures and a row per problem are in {out}")

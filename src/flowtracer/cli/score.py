"""`flowtracer score`: credit for files of rollouts."""

import time
from pathlib import Path
from typing import Annotated

import typer

from flowtracer.cli import options
from flowtracer.cli.extras import needing
from flowtracer.cli.progress import progress_bar
from flowtracer.credit.arguments import CreditArguments

BAD_ROWS = 3  # exit status if some rows could not be scored


@options.with_credit_options
def score(
    files: Annotated[
        Path, typer.Argument(metavar="IN", help="JSON Lines or Parquet file, or a folder of them.")
    ],
    *,
    model: options.Model = "embedded",
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    chat: Annotated[
        bool,
        options.option(options.MODEL, "Use the chat template for text prompts."),
    ] = True,
    out: options.Out = Path("runs/score"),
    config: options.Config = None,
    max_tokens: Annotated[
        int, options.option(options.RUNS, "Longer rollouts are errors.", min=2)
    ] = 32_768,
    batch_tokens: Annotated[
        int,
        options.option(options.RUNS, "Tokens of rollouts that are scored together.", min=1),
    ] = 65_536,
    shard_rows: Annotated[
        int, options.option(options.RUNS, "Rows of an output file.", min=1)
    ] = 256,
    engine: Annotated[str, options.option(options.RUNS, "local, or ray.")] = "local",
    workers: Annotated[
        int | None,
        options.option(
            options.RUNS, "Workers of engine ray.  [default: as many as GPUs, at least 1]", min=1
        ),
    ] = None,
    credit: CreditArguments,
) -> None:
    """Give every token of many rollouts its score and weight: Parquet files.

    Run it again after a kill and it continues. Rows that cannot be scored are listed in errors.jsonl;
    the exit status is then 3.
    """
    with needing("score"):
        from flowtracer.rollouts.score import score_files
        from flowtracer.rollouts.worker import ScoreSettings
    settings = ScoreSettings(
        model,
        credit.credit(),
        dtype=dtype,
        device=device,
        max_tokens=max_tokens,
        batch_tokens=batch_tokens,
        chat=None if chat else False,
        trust_remote_code=trust_remote_code,
    )
    with progress_bar({"scoring": "rows"}) as report:
        start, resumed = time.monotonic(), None

        def progress(done: int, total: int, tokens: int) -> None:
            nonlocal resumed
            resumed = done if resumed is None else resumed
            seconds = time.monotonic() - start
            rate = f" {(done - resumed) / seconds:.1f} rows/s {tokens / seconds:,.0f} tokens/s"
            report("scoring", done, total, rate if done > resumed else "")

        result = score_files(
            files,
            out,
            settings,
            engine=engine,
            workers=workers,
            shard_rows=shard_rows,
            progress=progress,
        )
    rule = settings.credit.answer
    answered = f"{result.rows} scored, {result.answered} with an answer (rule {rule!r})"
    print(f"{answered}; {result.parts} parts are in {out / 'parts'}")
    if result.answered < result.rows / 2:
        typer.echo(
            "flowtracer: rollouts without an answer have weight 1 everywhere; --answer names the rule "
            "that finds answers",
            err=True,
        )
    if result.errors:
        typer.echo(
            f"flowtracer: {result.errors} rows could not be scored; see {out / 'errors.jsonl'}",
            err=True,
        )
        raise typer.Exit(BAD_ROWS)

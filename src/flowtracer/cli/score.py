"""`flowtracer score`: credit for files of rollouts."""

import time
from pathlib import Path
from typing import Annotated

import typer

from flowtracer.cli.options import CONFIG, needing, with_credit_options
from flowtracer.cli.progress import progress_bar
from flowtracer.credit.arguments import CreditArguments

BAD_ROWS = 3  # exit status if some rows could not be scored


@with_credit_options
def score(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="JSON Lines or Parquet file, or a folder of them.")
    ],
    *,
    config: Annotated[Path | None, CONFIG] = None,
    out: Annotated[Path, typer.Option(help="Folder of the result.")] = Path("scores"),
    model: Annotated[str, typer.Option(help="Hub id, folder, or 'embedded'.")] = "embedded",
    max_tokens: Annotated[int, typer.Option(min=2, help="Longer rollouts are errors.")] = 32_768,
    batch_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of rollouts that are scored together.")
    ] = 65_536,
    shard_rows: Annotated[int, typer.Option(min=1, help="Rows of a part.")] = 256,
    chat: Annotated[bool, typer.Option(help="Use the chat template for text prompts.")] = True,
    engine: Annotated[str, typer.Option(help="local, or ray.")] = "local",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Workers of engine ray.  [default: as many as GPUs, at least 1]"),
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
    credit: CreditArguments,
) -> None:
    """Give every token of many rollouts its score and weight: Parquet parts, docs/score.md.

    Run it again after a kill and it goes on. Rows that cannot be scored are listed in errors.jsonl;
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
            source,
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

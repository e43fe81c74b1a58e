"""`flowtracer score`: credit for files of rollouts."""

import time
from pathlib import Path
from typing import Annotated

import typer

from flowtracer.cli.options import CONFIG, needing
from flowtracer.cli.progress import progress_bar

BAD_ROWS = 3  # exit status if some rows could not be scored


def score(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="JSON Lines or Parquet file, or a folder of them.")
    ],
    config: Annotated[Path | None, CONFIG] = None,
    out: Annotated[Path, typer.Option(help="Folder of the result.")] = Path("scores"),
    model: Annotated[str, typer.Option(help="Hub id, folder, or 'embedded'.")] = "embedded",
    scorer: Annotated[str, typer.Option(help="flow, or another scorer.")] = "flow",
    select_ratio: Annotated[float, typer.Option(help="Ratio of tokens that is chosen.")] = 0.4,
    weighting: Annotated[
        str, typer.Option(help="emphasis, or a continuous rule: raw, tanh, sigmoid, mad, log1p.")
    ] = "emphasis",
    emphasis: Annotated[float, typer.Option(help="Weight of chosen tokens.")] = 1.5,
    layers: Annotated[str, typer.Option(help="early, middle, late, all, or such as 15-25.")] = (
        "middle"
    ),
    answer: Annotated[
        str, typer.Option(help="Answer rule, for rows that do not say where their answer is.")
    ] = "boxed",
    answer_tokens: Annotated[str, typer.Option(help="absorb or relay.")] = "absorb",
    tile_above: Annotated[
        int | None, typer.Option(help="Tokens beyond which attention is not held as a whole.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Longer rollouts are errors.")] = 32_768,
    batch_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of rollouts looked at together.")
    ] = 65_536,
    shard_rows: Annotated[int, typer.Option(min=1, help="Rows of a part.")] = 256,
    chat: Annotated[bool, typer.Option(help="Use the chat template for text prompts.")] = True,
    engine: Annotated[str, typer.Option(help="local, or ray.")] = "local",
    workers: Annotated[int, typer.Option(min=1, help="Workers of engine ray.")] = 1,
    seed: Annotated[int, typer.Option(help="Of random scores.")] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
) -> None:
    """Give every token of many rollouts its score and weight: Parquet parts, docs/score.md.

    Run it again after a kill and it goes on. Rows that cannot be scored are told in errors.jsonl; the
    exit status is then 3.
    """
    with needing("score"):
        from flowtracer.credit import Credit, Selection, Weighting
        from flowtracer.rollouts.score import score_files
        from flowtracer.rollouts.worker import ScoreSettings
    credit = Credit(
        scorer=scorer,
        selection=Selection(ratio=select_ratio),
        weighting=Weighting(weighting, emphasis),
        layers=layers,
        answer=answer,
        answer_tokens=answer_tokens,  # type: ignore[arg-type]
        seed=seed,
        tile_above=tile_above,
    )
    settings = ScoreSettings(
        model,
        credit,
        dtype,
        device,
        max_tokens,
        batch_tokens,
        None if chat else False,
        trust_remote_code,
    )
    with progress_bar({"scoring": "rows"}) as report:
        start, resumed = time.monotonic(), None

        def progress(done: int, total: int, tokens: int) -> None:
            nonlocal resumed
            resumed = done if resumed is None else resumed
            seconds = time.monotonic() - start
            rate = f" {(done - resumed) / seconds:.1f} rows/s {tokens / seconds:,.0f} tokens/s"
            report("scoring", done, total, rate if done > resumed else "")

        found = score_files(
            source,
            out,
            settings,
            engine=engine,
            workers=workers,
            shard_rows=shard_rows,
            progress=progress,
        )
    print(f"Scored {found.rows} rollouts into {found.parts} parts in {out / 'parts'}")
    if found.errors:
        typer.echo(
            f"flowtracer: {found.errors} rows could not be scored; see {out / 'errors.jsonl'}",
            err=True,
        )
        raise typer.Exit(BAD_ROWS)

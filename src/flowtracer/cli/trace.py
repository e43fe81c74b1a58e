"""`flowtracer trace` and `flowtracer show`: one text traced, printed, and written into a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flowtracer.cli.progress import progress_bar, silence_transformers
from flowtracer.storage import remove_partials

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace

UNITS = {"answering": "tokens at most", "tracing": "layers", "reading": "rows"}
DEFAULT_OUT = Path("flowtracer-out")
STALE = 600.0  # seconds after which a half-written file is left over from a kill, our choice


def trace(
    *,
    model: Annotated[
        str,
        typer.Option(help="Hub id, folder, .gguf file, or 'embedded' (a small Countdown model)."),
    ] = "embedded",
    problem: Annotated[
        str | None, typer.Option(help="A problem; the model answers it, then is traced.")
    ] = None,
    prompt_file: Annotated[
        Path | None, typer.Option(help="Text file with the user's message.")
    ] = None,
    response_file: Annotated[
        Path | None, typer.Option(help="Text file with the response to --prompt-file.")
    ] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option(
            help="JSON Lines with a prompt (or question, or messages) and optionally a response."
        ),
    ] = None,
    row: Annotated[int, typer.Option(help="Row of --jsonl, counted from 0.")] = 0,
    layers: Annotated[
        str, typer.Option(help="middle, early, late, all, '10-20' or '3,5,8'.")
    ] = "middle",
    answer: Annotated[
        str,
        typer.Option(
            help="Where the answer is: boxed, line, explained, choice, tag, gsm8k, stated, last-line, "
            "regex:PATTERN, or auto (the first of boxed, tag, gsm8k, stated, last-line that fits)."
        ),
    ] = "auto",
    question: Annotated[
        str, typer.Option(help="Where flow enters: the whole prompt, or the user's text only.")
    ] = "prompt",
    answer_tokens: Annotated[
        str, typer.Option(help="absorb, or relay: may answer tokens pass flow on?")
    ] = "absorb",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = DEFAULT_OUT,
    figures: Annotated[bool, typer.Option(help="Write PNG and SVG figures.")] = True,
    word_cloud: Annotated[
        bool,
        typer.Option("--word-cloud", help="Write a word cloud too (needs flowtracer[wordcloud])."),
    ] = False,
    chat: Annotated[bool, typer.Option(help="Use the tokenizer's chat template.")] = True,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of the answer at most.")
    ] = 1024,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of sampling, for a temperature above 0.")] = 0,
    tile_above: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Tokens beyond which attention is read in tiles; default: decided by free memory.",
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
) -> None:
    """Trace one response: print it coloured, write trace.json, trace.html and figures.

    Without options, the embedded model solves a sample problem and is traced.
    """
    from flowtracer.cli.trace_input import check_vocabulary, text_to_trace
    from flowtracer.models import load
    from flowtracer.tracing.trace import trace as trace_text

    text = text_to_trace(
        model=model,
        problem=problem,
        prompt_file=prompt_file,
        response_file=response_file,
        jsonl=jsonl,
        row=row,
    )
    out.mkdir(parents=True, exist_ok=True)  # a bad folder fails before the long work
    silence_transformers()
    with Console(stderr=True).status(f"loading {model}"):
        loaded = load(model, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    check_vocabulary(loaded, text)
    with progress_bar(UNITS) as progress:
        result = trace_text(
            loaded.model,
            loaded.tokenizer,
            text.prompt,
            text.response,
            layers=layers,
            answer=answer,
            question=question,  # type: ignore[arg-type]  # trace checks it
            answer_tokens=answer_tokens,  # type: ignore[arg-type]
            chat=None if chat else False,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            tile_above=tile_above,
            progress=progress,
        )
    _show(result, out, figures=figures, word_cloud=word_cloud)


def show(
    trace_file: Annotated[Path, typer.Argument(help="A trace.json that `trace` wrote.")],
    out: Annotated[Path | None, typer.Option(help="Folder; default: beside the file.")] = None,
    figures: Annotated[bool, typer.Option(help="Write PNG and SVG figures.")] = True,
    word_cloud: Annotated[
        bool,
        typer.Option("--word-cloud", help="Write a word cloud too (needs flowtracer[wordcloud])."),
    ] = False,
) -> None:
    """Print a saved trace and write its page and figures again; no model is loaded."""
    from flowtracer.tracing.file import load_trace

    result = load_trace(trace_file)
    folder = trace_file.parent if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    _show(result, folder, figures=figures, word_cloud=word_cloud)


def _show(result: "Trace", out: Path, *, figures: bool, word_cloud: bool) -> None:
    """Print the trace and write its files into a folder that exists."""
    from flowtracer.render import save_page
    from flowtracer.render.terminal import show as show_text

    remove_partials(out, age=STALE)
    console = Console()
    show_text(result, console)
    result.save(out / "trace.json")
    save_page(result, out / "trace.html")
    written = [out / "trace.json"]
    if figures:
        from flowtracer.render.figures import save_figures

        written += save_figures(result, out, cloud=word_cloud)
    names = ", ".join(path.name for path in written)
    console.print(f"\nWrote {names} to {out.resolve()}", soft_wrap=True, highlight=False)
    console.print(
        f"Open the page in a browser: {(out / 'trace.html').resolve().as_uri()}",
        soft_wrap=True,
        highlight=False,
    )

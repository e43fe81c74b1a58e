"""`flowtracer trace`: one text traced, printed, and written into a folder."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from flowtracer.cli import options
from flowtracer.cli.folders import chosen_folder, new_folder
from flowtracer.cli.progress import progress_bar, silence_transformers
from flowtracer.cli.response_file import ROW_FILE, TEXT_FILE, command_to_reuse, save_response
from flowtracer.regions.answers import find_answer
from flowtracer.storage import remove_partials

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace

UNITS = {"answering": "tokens at most", "tracing": "layers", "reading": "rows"}
DEFAULT_OUT = Path("runs/trace")
STALE = 600.0  # seconds after which a half-written file is left over from a kill, our choice
# What the command that reuses a response is given again.
REUSED = (
    "model", "dtype", "device", "trust_remote_code", "chat", "question", "answer_tokens", "layers", "edges",
    "scorer", "image",
    "tile_above", "figures", "word_cloud",
)  # fmt: skip


def trace(
    context: typer.Context,
    *,
    problem: Annotated[
        str | None,
        options.option(options.TEXT, "A problem; the model answers it, then is traced."),
    ] = None,
    prompt_file: Annotated[
        Path | None, options.option(options.TEXT, "Text file with the user's message.")
    ] = None,
    response_file: Annotated[
        Path | None, options.option(options.TEXT, "Text file with the response to --prompt-file.")
    ] = None,
    jsonl: Annotated[
        Path | None,
        options.option(
            options.TEXT,
            "JSON Lines with a prompt (or question, or messages) and optionally a response.",
        ),
    ] = None,
    row: Annotated[int, options.option(options.TEXT, "Row of --jsonl, counted from 0.")] = 0,
    image: Annotated[
        list[Path] | None,
        options.option(
            options.TEXT,
            "A picture that the text is about, for a model that takes pictures; repeat it. Needs the extra "
            "flowtracer[vision].",
        ),
    ] = None,
    model: options.Model = "embedded",
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    chat: options.Chat = True,
    max_new_tokens: options.MaxNewTokens = 1024,
    temperature: options.Temperature = 0.0,
    seed: options.Seed = 0,
    answer: options.Answer = "auto",
    question: options.Question = "prompt",
    answer_tokens: options.AnswerTokens = "absorb",
    layers: options.Layers = "middle",
    edges: options.Edges = "mean",
    scorer: Annotated[
        list[str] | None,
        options.option(
            options.GRAPH,
            "Another scorer of docs/training.md to show beside flow, where that takes a pass of its own "
            "such as entropy; repeat it.",
        ),
    ] = None,
    tile_above: options.TileAbove = None,
    out: Annotated[
        Path | None,
        options.option(
            options.OUTPUT,
            "Folder of the results.  [default: runs/trace, or runs/trace-2 and so on if that is taken]",
        ),
    ] = None,
    overwrite: Annotated[
        bool, options.option(options.OUTPUT, "Replace a trace in --out.", "--overwrite")
    ] = False,
    figures: options.Figures = True,
    word_cloud: options.WordCloud = False,
) -> None:
    """Trace one response: print it coloured, write trace.json, trace.html and figures.

    Without options, the embedded model solves a sample problem and is traced.
    """
    if word_cloud and not figures:
        raise ValueError("--word-cloud is one of the figures; leave --no-figures out")
    find_answer("", answer)  # an unknown rule is told before anything heavy is imported
    from flowtracer.cli import trace_input
    from flowtracer.models import load
    from flowtracer.scorers import ScoreOptions
    from flowtracer.tracing.choices import check_choices
    from flowtracer.tracing.trace import AnswerNotFound
    from flowtracer.tracing.trace import trace as trace_text

    check_choices(answer=answer, question=question, scorers=scorer or ())
    graph: Any = {"layers": layers, "edges": edges, "answer_tokens": answer_tokens}
    ScoreOptions(**graph)  # refuses what does not exist
    text = trace_input.text_to_trace(
        model=model,
        problem=problem,
        prompt_file=prompt_file,
        response_file=response_file,
        jsonl=jsonl,
        row=row,
    )
    images, processor = trace_input.open_pictures(
        image or (), model=model, trust_remote_code=trust_remote_code
    )
    # A bad folder, and one that is taken or in use, is told before the long work.
    names = ("trace.json",) if text.response else ("trace.json", ROW_FILE)
    folder = context.with_resource(
        new_folder(DEFAULT_OUT) if out is None else chosen_folder(out, names, overwrite=overwrite)
    )
    silence_transformers()
    with Console(stderr=True).status(f"loading {model}"):
        loaded = load(model, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    trace_input.check_vocabulary(loaded, text)
    with progress_bar(UNITS) as progress:
        try:
            result = trace_text(
                loaded.model,
                processor or loaded.tokenizer,
                text.prompt,
                text.response,
                **graph,
                answer=answer,
                question=question,  # type: ignore[arg-type]  # checked above
                scorers=scorer or (),
                chat=None if chat else False,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed,
                tile_above=tile_above,
                images=images,
                progress=progress,
                keep_response=partial(save_response, folder, model=model, prompt=text.prompt),
            )
        except AnswerNotFound as error:
            if text.response is not None:
                raise
            raise ValueError(f"{error}; {how_to_reuse(context, folder)}") from None
    tell_if_cut_off(result, max_new_tokens)
    show_trace(text.graded(result), folder, figures=figures, word_cloud=word_cloud)


def how_to_reuse(context: typer.Context, folder: Path) -> str:
    """Where a response without an answer is, and the command that traces it."""
    command = command_to_reuse(folder, given_options(context, REUSED), answer="last-line")
    return f"the response is kept in {folder / TEXT_FILE}, and is traced by: {command}"


def tell_if_cut_off(result: "Trace", max_new_tokens: int) -> None:
    """Say that the response was not complete."""
    if not result.cut_off:
        return
    limit = f"{max_new_tokens} tokens (--max-new-tokens)"
    typer.echo(f"flowtracer: the response was cut off at {limit}", err=True)


def given_options(context: typer.Context, names: Collection[str]) -> list[str]:
    """Those of the named options that are not at their default, as words of a command line."""
    words: list[str] = []
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if parameter.name not in names or value == parameter.default:
            continue
        spelling = str(parameter.name).replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{spelling}")
        else:
            for each in value if isinstance(value, list | tuple) else [value]:
                words += [f"--{spelling}", str(each)]
    return words


def show_trace(result: "Trace", out: Path, *, figures: bool, word_cloud: bool) -> None:
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

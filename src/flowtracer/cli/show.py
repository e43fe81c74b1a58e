"""`flowtracer show`: a saved trace, or rollouts with what each token was rewarded."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flowtracer.cli import options
from flowtracer.cli.folders import existing_folder

if TYPE_CHECKING:
    from flowtracer.watching.formats import Decode

TRACE_FILE = "trace.json"
ROLLOUTS = "Rollouts"  # panel of the help page


def show(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE_OR_FOLDER",
            help="A trace.json; or rollouts: a training run's folder or file, the output of `flowtracer "
            "score`, TRL's completions_*.parquet, prime-rl's token_exports; or a folder of them.",
        ),
    ],
    out: Annotated[
        Path | None, options.option(options.OUTPUT, "Folder; default: beside the file.")
    ] = None,
    figures: options.Figures = True,
    word_cloud: options.WordCloud = False,
    tokenizer: Annotated[
        str | None,
        options.option(ROLLOUTS, "Model whose tokenizer made the ids, for files without text."),
    ] = None,
    rows: Annotated[
        int,
        options.option(ROLLOUTS, "Rows to read from files other than a training run's.", min=1),
    ] = 200,
) -> None:
    """Print a saved trace and write its page and figures again, or write the page of rollouts.

    No model is loaded.
    """
    if word_cloud and not figures:
        raise ValueError("--word-cloud is one of the figures; leave --no-figures out")
    trace_file = saved_trace(path)
    folder = out or (path if path.is_dir() else path.parent)
    if trace_file is not None:
        from flowtracer.cli.trace import show_trace
        from flowtracer.tracing.file import load_trace

        result = load_trace(trace_file)
        existing_folder(folder)
        show_trace(result, folder, figures=figures, word_cloud=word_cloud)
        return
    show_rollouts(path, folder, rows=rows, tokenizer=tokenizer)


def saved_trace(path: Path) -> Path | None:
    """The trace that a path names: a JSON file, or the trace.json in a folder."""
    if path.suffix == ".json":
        return path
    inside = path / TRACE_FILE
    return inside if inside.is_file() else None


def show_rollouts(path: Path, folder: Path, *, rows: int, tokenizer: str | None) -> None:
    """Write the page of the rollouts of a file or a folder, and say what is on it."""
    from flowtracer.watching.formats import read_rollouts
    from flowtracer.watching.parts import PAGE_FILE
    from flowtracer.watching.run_page import save_page

    watched = read_rollouts(path, rows=rows, decode=decoder(tokenizer) if tokenizer else None)
    existing_folder(folder)
    name = path.resolve().name if path.is_dir() else path.stem
    page = save_page(watched, folder / PAGE_FILE, title=f"{name} ({watched.title})")
    steps = len({rollout.step for rollout in watched.rollouts if rollout.step is not None})
    of_steps = f" of {steps} step{'s' * (steps > 1)}" if steps else ""
    console = Console(soft_wrap=True, highlight=False)
    count = len(watched.rollouts)
    console.print(f"{count} rollout{'s' * (count != 1)}{of_steps} ({watched.title})", markup=False)
    for note in watched.notes:
        console.print(f"  {note}", markup=False)
    console.print(f"Open the page in a browser: {page.resolve().as_uri()}", markup=False)


def decoder(name: str) -> "Decode":
    """What turns token ids into the text of each token, by the tokenizer of a model."""
    from flowtracer.models.loading import load_tokenizer
    from flowtracer.regions.offsets import decode_with_offsets
    from flowtracer.watching.rollout import texts_of_tokens

    tokenizer = load_tokenizer(name)

    def decode(ids: Sequence[int]) -> list[str]:
        if not ids:
            return []
        unknown = next((number for number in ids if not 0 <= number < len(tokenizer)), None)
        if unknown is not None:
            raise ValueError(
                f"token id {unknown} is not in the vocabulary of {name}; --tokenizer names the model that "
                "wrote the rollouts"
            )
        text = decode_with_offsets(tokenizer, list(ids))
        return texts_of_tokens(text.text, text.offsets)

    return decode

"""The options of all commands, each written once: name, help text, panel.

`from flowtracer.cli import options`, then `model: options.Model = "embedded"` in a command's signature.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from flowtracer.cli.settings_file import read_defaults
from flowtracer.credit.arguments import CreditArguments

# Panels of help, in the order of first use.
TEXT = "What to trace"
MODEL = "Model"
TASK = "Task"
GENERATION = "Generation"
GRAPH = "Answer and graph"
CREDIT = "Credit"
STUDY = "Study"
RUNS = "Runs"
TEST = "Held-out test"
OUTPUT = "Output"
PAGE = "Page"
SERVER = "Server"
SCORER = "Scorer"
GRAPH_OPTIONS = ["layers", "edges", "heads", "answer", "answer_tokens", "question", "tile_above"]


def option(panel: str, help: str, *names: str, **settings: Any) -> Any:
    """An option in a panel of the help page; brackets in its text are no markup."""
    return typer.Option(*names, help=escape(help), rich_help_panel=panel, **settings)


def _credit(name: str) -> Any:
    """The option of a field of `CreditArguments`, with its help text."""
    (field,) = (field for field in fields(CreditArguments) if field.name == name)
    return option(GRAPH if name in GRAPH_OPTIONS else CREDIT, field.metadata["help"])


Config = Annotated[
    Path | None,
    option(
        OUTPUT,
        "YAML file with any of these options; the command line takes precedence.",
        "--config",
        callback=read_defaults,
        is_eager=True,
    ),
]

Model = Annotated[
    str, option(MODEL, "Hub id, folder, .gguf file, or 'embedded' (a small Countdown model).")
]
Dtype = Annotated[str, option(MODEL, "auto, float32, bfloat16 or float16.")]
Device = Annotated[str, option(MODEL, "auto, cpu, cuda, cuda:1, ...")]
TrustRemoteCode = Annotated[
    bool, option(MODEL, "Run code that comes with the model.", "--trust-remote-code")
]

Task = Annotated[str, option(TASK, "Name of a task, or a JSON Lines file.")]
Source = Annotated[
    str | None, option(TASK, "Folder with TASK/SPLIT.jsonl; default: the hub, for its tasks.")
]
Split = Annotated[str, option(TASK, "Split of the task.")]
Problems = Annotated[int, option(TASK, "Problems with an answer to use.", min=1)]

Layers = Annotated[str, _credit("layers")]
Scorer = Annotated[str, _credit("scorer")]
Edges = Annotated[str, _credit("edges")]
Answer = Annotated[str, _credit("answer")]
AnswerTokens = Annotated[str, _credit("answer_tokens")]
Question = Annotated[str, _credit("question")]
TileAbove = Annotated[int | None, _credit("tile_above")]

MaxNewTokens = Annotated[int, option(GENERATION, "Most tokens of a response.", min=1)]
Temperature = Annotated[float, option(GENERATION, "0 is greedy.", min=0.0)]
Seed = Annotated[int, option(GENERATION, "Seed of sampling, generated tasks and random scores.")]
Batch = Annotated[int, option(GENERATION, "Responses generated together.", min=1)]
Chat = Annotated[bool, option(GENERATION, "Use the tokenizer's chat template.")]

Out = Annotated[Path, option(OUTPUT, "Folder of the results.")]
Figures = Annotated[bool, option(OUTPUT, "Write PNG and SVG figures.")]
WordCloud = Annotated[
    bool, option(OUTPUT, "Write a word cloud too (needs flowtracer[wordcloud]).", "--word-cloud")
]
Solutions = Annotated[
    Path | None,
    option(OUTPUT, "Folder of solutions that studies share; default: in --out."),
]

StudyScorer = Annotated[str, option(STUDY, "SCORER[@KEY=VALUE,...] that takes tokens.")]


def with_credit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of `CreditArguments`, which it takes as `credit`."""
    signature = inspect.signature(command)
    options = {
        field.name: inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[field.type, _credit(field.name)],
        )
        for field in fields(CreditArguments)
    }

    @wraps(command)
    def run(**values: Any) -> None:
        credit = CreditArguments(**{name: values.pop(name) for name in options})
        command(**values, credit=credit)

    others = [parameter for name, parameter in signature.parameters.items() if name != "credit"]
    run.__signature__ = signature.replace(parameters=[*others, *options.values()])  # type: ignore[attr-defined]
    return run

"""The command line. Heavy imports wait until a command runs, so that help comes at once."""

import os
import sys
from typing import Annotated, NoReturn

import typer

from flowtracer.cli import evaluate as evaluate_command
from flowtracer.cli import score as score_command
from flowtracer.cli import study as study_command
from flowtracer.cli import trace as trace_command
from flowtracer.cli import train as train_command

app = typer.Typer(
    help="Find out how reasoning flows from a prompt to its answer inside a language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(trace_command.trace)
app.command()(trace_command.show)
# Options that are not ours go to TRL's parser.
app.command(
    epilog=train_command.EPILOG,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(train_command.train)
app.command("eval")(evaluate_command.evaluate)
app.command("score")(score_command.score)
app.add_typer(study_command.app, name="study")


def main() -> None:
    """Run a command; any failure is one sentence on stderr and a non-zero exit."""
    try:
        app()
    except KeyboardInterrupt:
        _stop("interrupted", 130)
    except Exception as error:
        if os.environ.get("FLOWTRACER_DEBUG"):
            raise
        expected = isinstance(error, ValueError | OSError)
        text = " ".join(str(error).split()) or type(error).__name__
        hint = "" if expected else " (set FLOWTRACER_DEBUG=1 to see where)"
        _stop(f"{'' if expected else type(error).__name__ + ': '}{text}{hint}", 1)


def _stop(text: str, status: int) -> NoReturn:
    print(f"flowtracer: {text}", file=sys.stderr)
    raise SystemExit(status)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"flowtracer {version('flowtracer')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass

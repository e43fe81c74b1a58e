"""The command line. Heavy imports wait until a command runs, so that help comes at once."""

import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from flowtracer.cli import evaluate as evaluate_command
from flowtracer.cli import score as score_command
from flowtracer.cli import serve as serve_command
from flowtracer.cli import show as show_command
from flowtracer.cli import study as study_command
from flowtracer.cli import trace as trace_command
from flowtracer.cli import train as train_command
from flowtracer.cli.extras import extra_of, missing_package
from flowtracer.cli.interrupt import INTERRUPTED, leave, leave_on_interrupt
from flowtracer.option_names import normal_name, unknown_option

app = typer.Typer(
    help="Find out how reasoning flows from a prompt to its answer inside a language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"token_normalize_func": lambda name: name.replace("_", "-")},
)

# In the order of first use, which is that of the help page.
app.command()(trace_command.trace)
app.command()(show_command.show)
app.command()(serve_command.serve)
# Options that are not ours go to TRL's parser.
app.command(
    epilog=train_command.EPILOG,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(train_command.train)
app.command("score")(score_command.score)
app.command("eval")(evaluate_command.evaluate)
app.add_typer(study_command.app, name="study")


WRONG_USAGE = 2  # exit status, as shells and click have it
RESUMABLE = ("score", "train", "eval", "study")


def main() -> None:
    """Run a command; any failure is one sentence on stderr and a non-zero exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # no result is lost to a sign that cannot be printed
            stream.reconfigure(errors="backslashreplace")
    for argument in sys.argv[1:]:
        if any("\ud800" <= sign <= "\udfff" for sign in argument):
            _stop(f"{argument!r} is not UTF-8 text; give texts and names in UTF-8", WRONG_USAGE)
    resumable = sys.argv[1:2] and sys.argv[1] in RESUMABLE
    advice = "it continues where it stopped" if resumable else "it starts from the beginning"
    interrupted = f"flowtracer: interrupted; run the same command again and {advice}"
    try:
        with leave_on_interrupt(interrupted):
            status = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # which has printed the help
            raise SystemExit(WRONG_USAGE) from None
        if os.environ.get("FLOWTRACER_DEBUG"):
            raise
        _stop(*describe(error))
    if status == INTERRUPTED:  # what typer makes of KeyboardInterrupt
        leave(interrupted)
    raise SystemExit(status or 0)


def describe(error: Exception) -> tuple[str, int]:
    """A sentence for an error, and the exit status."""
    usage = getattr(error, "format_message", None)  # of wrong options and arguments
    if usage:
        context = getattr(error, "ctx", None)
        hint = f"; see `{context.command_path} --help`" if context else ""
        name = getattr(error, "option_name", None)
        if context and name and type(error).__name__ == "NoSuchOption":
            known = [
                normal_name(word) for parameter in context.command.params for word in parameter.opts
            ]
            return unknown_option(name, known) + hint, WRONG_USAGE
        return " ".join(usage().split()).rstrip(".") + hint, WRONG_USAGE
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ValueError | OSError) or "pip install" in text:
        return text, 1
    if isinstance(error, ImportError) and (extra := extra_of(error)):
        return missing_package(error.name or "", extra), 1
    return f"{type(error).__name__}: {text} (set FLOWTRACER_DEBUG=1 to see where)", 1


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
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    pass

"""Options that the studies share, and the command as it was typed."""

import sys
from pathlib import Path

import typer

MODEL = typer.Option(help="Hub id, folder, or 'embedded'.")
TASK = typer.Option(help="Name of a task, or a JSON Lines file.")
SOURCE = typer.Option(help="Folder with TASK/SPLIT.jsonl; default: the hub.")
SPLIT = typer.Option(help="Split of the task.")
OUT = typer.Option(help="Folder of the study.")
SOLUTIONS = typer.Option(help="Folder of solutions that studies share; default: in --out.")
PROBLEMS = typer.Option(min=1, help="Problems with an answer to use.")
SCORER = typer.Option(help="SCORER[@KEY=VALUE,...] that takes tokens.")
LENGTH = typer.Option(min=1, help="Tokens of a response.")
SEED = typer.Option(help="Of generated tasks and of random controls.")
DTYPE = typer.Option(help="auto, float32, bfloat16 or float16.")
DEVICE = typer.Option(help="auto, cpu, cuda, ...")
TRUST = typer.Option("--trust-remote-code", help="Run code that comes with the model.")


def command_line() -> str:
    """What was typed, without the machine's paths."""
    words = [
        Path(word).name if word.startswith(("/", "~", "..")) else word for word in sys.argv[1:]
    ]
    return " ".join(["flowtracer", *words])

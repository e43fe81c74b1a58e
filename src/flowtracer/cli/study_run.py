"""What the commands of `flowtracer study` share when they run."""

import shlex
import sys
from pathlib import Path


def command_line() -> str:
    """What was typed, without the machine's paths, as a shell takes it."""
    return shlex.join(["flowtracer", *map(_without_folders, sys.argv[1:])])


def _without_folders(word: str) -> str:
    """A word of a command line, or the value of `--option=value`, a path as its last part."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if value.startswith(("/", "~", "..")):
        value = Path(value).name
    return f"{option}{equals}{value}"

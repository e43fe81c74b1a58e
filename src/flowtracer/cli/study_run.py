"""What the commands of `flowtracer study` share when they run."""

import sys
from pathlib import Path


def command_line() -> str:
    """What was typed, without the machine's paths."""
    words = [
        Path(word).name if word.startswith(("/", "~", "..")) else word for word in sys.argv[1:]
    ]
    return " ".join(["flowtracer", *words])

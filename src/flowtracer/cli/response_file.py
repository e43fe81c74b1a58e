"""A response that a model generated, kept before it is traced, so that it need not be generated again."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowtracer.storage import atomic_write

TEXT_FILE = "response.txt"
ROW_FILE = "response.jsonl"


def save_response(
    folder: Path,
    *,
    model: str,
    prompt: str | Sequence[Any],
    response: str,
    response_ids: Sequence[int],
    cut_off: bool,
) -> None:
    """Write the text, and a row for `flowtracer trace --jsonl` with the very token ids."""
    row = {
        "prompt": prompt,
        "response": response,
        "response_ids": list(response_ids),
        "model": model,
        "cut_off": cut_off,
    }
    for name, content in ((TEXT_FILE, response), (ROW_FILE, json.dumps(row) + "\n")):
        with atomic_write(folder / name) as partial:
            partial.write_bytes(content.encode("utf-8", errors="backslashreplace"))


def command_to_reuse(folder: Path, words: Sequence[str], *, answer: str) -> str:
    """The command that traces the saved response, with another rule for its answer.

    words: the other options, as they are to be given again.
    """
    command = ["flowtracer", "trace", "--jsonl", str(folder / ROW_FILE), "--answer", answer]
    return shlex.join([*command, *words, "--out", str(folder)])

"""The progress bar of every command: on stderr, with counts and the time left."""

import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 60.0  # our choice: in the log of a job, where no bar can be drawn


class Report(Protocol):
    """Says how much of a stage is done; `note` follows the counts, such as a rate."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None: ...


def silence_transformers() -> None:
    """Let transformers draw no bars of its own and print errors only."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def silence_training() -> None:
    """Keep from a run's output what is known and nobody can act on; other warnings stay, in one line each.

    TRL sets and reads `gradient_checkpointing`, which transformers is renaming: both names work.
    """
    for name in ("gradient_checkpointing", "is_gradient_checkpointing"):
        warnings.filterwarnings("ignore", message=f"`{name}` is deprecated", category=FutureWarning)
    warnings.showwarning = _one_line
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # read when it is imported
    from transformers.utils import logging

    logging.disable_progress_bar()


def _one_line(message: Any, category: type[Warning], *location: Any, **more: Any) -> None:
    text = " ".join(str(message).split())
    print(f"warning ({category.__name__}): {text}", file=sys.stderr)


@contextmanager
def progress_bar(units: Mapping[str, str] | None = None) -> Iterator[Report]:
    """Yields a function that draws a bar per stage; where stderr is no terminal, it writes a line a minute.

    units: what a stage counts, such as {"tracing": "layers"}.
    """
    silence_transformers()
    console = Console(stderr=True)
    if not console.is_terminal:
        yield log_lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        lines: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int, note: str = "") -> None:
            if stage not in lines:
                lines[stage] = bars.add_task(
                    stage, total=total, unit=(units or {}).get(stage, ""), note=""
                )
            bars.update(lines[stage], completed=done, total=total, note=note)

        yield report


def log_lines() -> Report:
    """Write how far a stage is to stderr, at most once a minute: nothing for short work."""
    written = time.monotonic()

    def report(stage: str, done: int, total: int, note: str = "") -> None:
        nonlocal written
        now = time.monotonic()
        if now - written >= SECONDS_BETWEEN_LINES:
            written = now
            print(f"{stage}: {done} of {total}{note}", file=sys.stderr, flush=True)

    return report

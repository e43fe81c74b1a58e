"""Ctrl-C: one sentence and status 130 in time, whatever the main thread is busy with."""

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from flowtracer.storage import remove_open_partials

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PATIENCE = 1.0  # seconds that the main thread gets to end by itself, our choice


@contextmanager
def leave_on_interrupt(sentence: str) -> Iterator[None]:
    """Leave the process if a SIGINT has not ended the block after `PATIENCE` seconds.

    Python raises KeyboardInterrupt only between two of its instructions, which can be a forward pass
    of half a minute; a thread that reads the signal's number from a pipe does not wait for that.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    except ValueError:  # not the main thread: signals are somebody else's
        os.close(reader)
        os.close(writer)
        yield
        return
    threading.Thread(target=_watch, args=(reader, sentence), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)


def leave(sentence: str) -> NoReturn:
    """Print a sentence and end this process at once: no handler of a library can hold it up."""
    remove_open_partials()
    cursor = "\r\x1b[K\x1b[?25h" if os.isatty(2) else ""  # a progress bar hides it
    os.write(2, f"{cursor}{sentence}\n".encode(errors="replace"))
    os._exit(INTERRUPTED)


def _watch(reader: int, sentence: str) -> None:
    while number := os.read(reader, 1):  # nothing is read once the block has ended
        if number[0] != signal.SIGINT:
            continue
        ended, _, _ = select.select([reader], [], [], PATIENCE)
        if not ended or os.read(reader, 1):  # still busy, or interrupted once more
            leave(sentence)
        break
    os.close(reader)

"""Symbolic comparison by math-verify in one process of its own, with a time limit.

math-verify's own time limits are signals, which only work in the main thread and cannot interrupt
long arithmetic. Here the process is stopped and started anew. It is started when it is first
needed and stays; a forked process starts its own, and all are gone when their starters are.
"""

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

TIME_LIMIT = 5.0  # seconds per request; the same as math-verify's own
START_LIMIT = 120.0  # seconds to import sympy on a busy machine; our choice


class _Worker:
    """A running process and the thread that reads its replies."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("symbolic_worker.py")
        # -P: the folder of the script is no place to import from, its modules have common names.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # no buffer that a fork could copy, no lock that it could leave held
            env={**os.environ, "PYTHONUTF8": "1", "CUDA_VISIBLE_DEVICES": ""},
        )
        self.replies: queue.SimpleQueue[str] = queue.SimpleQueue()
        assert self.process.stdin and self.process.stdout
        self.input: IO[bytes] = self.process.stdin
        self.output: IO[bytes] = self.process.stdout
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in self.output:
                self.replies.put(line.decode().strip())
        self.replies.put("")  # the end

    def ask(self, request: str, seconds: float) -> str:
        """The reply, or nothing if the process ended or takes too long."""
        try:
            if request:
                self.input.write(request.encode() + b"\n")
            return self.replies.get(timeout=seconds)
        except (OSError, ValueError, queue.Empty):
            return ""

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.close()

    def close(self) -> None:
        for pipe in (self.input, self.output):
            with contextlib.suppress(OSError):
                pipe.close()


_lock = threading.Lock()
_worker: _Worker | None = None


def available() -> bool:
    """Whether math-verify is installed."""
    return find_spec("math_verify") is not None


def symbolically_equal(
    references: Sequence[str],
    answers: Sequence[str],
    *,
    relative: float = 0.0,
    seconds: float = TIME_LIMIT,
) -> bool:
    """Whether every reference equals an answer of its own, in any order.

    relative: tolerance for values that are numbers. seconds: limit for the whole request; what
    takes longer, and what cannot be parsed, is not equal. Safe to call from any thread.

    Raises ImportError without math-verify, RuntimeError if the process does not start.
    """
    global _worker
    request = {
        "references": list(references),
        "answers": list(answers),
        "relative": relative,
    }
    with _lock:
        if _worker is None or _worker.process.poll() is not None:
            _worker = _started()
        reply = _worker.ask(json.dumps(request), seconds)
        if not reply:
            _worker.stop()
            _worker = None
    return reply == "true"


def stop_worker() -> None:
    """Stop the process, if one runs; the next comparison starts a new one."""
    global _worker
    with _lock:
        if _worker is not None:
            _worker.stop()
            _worker = None


def _started() -> _Worker:
    if not available():
        raise ImportError(
            "grading mathematical answers needs math-verify; install it with "
            "pip install 'flowtracer[train]'"
        )
    worker = _Worker()
    if worker.ask("", START_LIMIT) != '"ready"':
        worker.stop()
        raise RuntimeError(
            "the process that grades mathematical answers does not start; check that "
            f"{sys.executable} can import math_verify"
        )
    return worker


def _forget_after_fork() -> None:
    """The process belongs to the parent: let go of its pipes, or it would outlive the parent."""
    global _worker, _lock
    _lock = threading.Lock()
    if _worker is not None:
        _worker.close()
        _worker.process.returncode = 0  # not ours to wait for
        _worker = None


atexit.register(stop_worker)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)

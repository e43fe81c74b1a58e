"""Symbolic comparison by math-verify in one process of its own, with a time limit.

math-verify's own time limits are signals, which only work in the main thread and cannot interrupt
long arithmetic. Here the process interrupts itself, and is killed and started anew where it cannot.
It is started when it is first needed and stays; a forked process starts its own, and all are gone
when their starters are.
"""

import atexit
import contextlib
import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO

TIME_LIMIT = 2.0  # seconds for one comparison; our choice, a hundred times what most need
GRACE = 0.3  # seconds in which the process may stop by itself; our choice
START_LIMIT = 120.0  # seconds to import sympy on a busy machine; our choice


class Ungraded(Exception):
    """Nobody knows whether the answers are equal: the process ended twice, or time was up."""


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
            bufsize=0,  # no buffer that a fork could copy, no lock that it could keep
            env={**os.environ, "PYTHONUTF8": "1", "CUDA_VISIBLE_DEVICES": ""},
        )
        self.ready = False
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

    def ask(self, request: str, seconds: float) -> str | None:
        """The reply; nothing if the process ended, None if it takes too long."""
        try:
            if request:
                self.input.write(request.encode() + b"\n")
            return self.replies.get(timeout=max(seconds, 0))
        except queue.Empty:
            return None
        except (OSError, ValueError):
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
_first_start = 0.0  # seconds that the first start took
_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


def clock() -> float:
    """Seconds that count against a limit: all but those of the first start of the process."""
    return time.monotonic() - _first_start


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """All comparisons inside together get so many seconds of `clock`; then they raise Ungraded."""
    token = _deadline.set(clock() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


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

    relative: tolerance for values that are numbers. seconds: limit for the request; what
    takes longer, and what cannot be parsed, is not equal. Safe to call from any thread.

    Raises Ungraded if the process ends twice during the request or `time_limit` leaves less than
    `seconds` and they are over, ImportError without math-verify, RuntimeError if the process does
    not start.
    """
    return _equal(tuple(references), tuple(answers), relative, seconds)


@lru_cache(maxsize=10_000)  # the answers of a group to one question are often the same
def _equal(
    references: tuple[str, ...], answers: tuple[str, ...], relative: float, seconds: float
) -> bool:
    global _worker
    with _lock:
        for _ in range(2):
            worker = _running()
            limit = min(seconds, _deadline.get() - clock())
            request = {"references": references, "answers": answers, "relative": relative}
            stop = max(limit - GRACE, limit / 2)
            reply = worker.ask(json.dumps({**request, "seconds": stop}), stop + GRACE)
            if reply in ("true", "false"):
                return reply == "true"
            if reply != '"late"':
                worker.stop()
                # Starting goes on while the caller does: the next request may find it ready.
                _worker = None if reply == "" else _Worker()
            if reply != "":
                if limit < seconds:
                    raise Ungraded("the time for the batch is over")
                return False
    raise Ungraded("the process that compares answers ended twice while it did")


def stop_worker() -> None:
    """Stop the process, if one runs; the next comparison starts a new one."""
    global _worker
    with _lock:
        if _worker is not None:
            _worker.stop()
            _worker = None


def _running() -> _Worker:
    """The process, started and ready. Raises Ungraded if it is not ready before the deadline."""
    global _worker, _first_start
    if not available():
        raise ImportError(
            "grading mathematical answers needs math-verify; install it with "
            "pip install 'flowtracer[train]'"
        )
    if _deadline.get() <= clock():
        raise Ungraded("the time for the batch is over")
    if _worker is None or _worker.process.poll() is not None:
        _worker = _Worker()
    if not _worker.ready:
        started = time.monotonic()
        first = _first_start == 0
        limit = START_LIMIT if first else min(START_LIMIT, _deadline.get() - clock())
        reply = _worker.ask("", limit)
        if reply is None and limit < START_LIMIT:
            raise Ungraded("the time for the batch is over")
        if reply != '"ready"':
            _worker.stop()
            _worker = None
            raise RuntimeError(
                "the process that grades mathematical answers does not start; check that "
                f"{sys.executable} can import math_verify"
            )
        if first:
            _first_start = time.monotonic() - started
        _worker.ready = True
    return _worker


def _forget_after_fork() -> None:
    """The process belongs to the parent: let go of its pipes, or it would outlive the parent."""
    global _worker, _lock, _first_start
    _lock = threading.Lock()
    _first_start = 0.0
    if _worker is not None:
        _worker.close()
        _worker.process.returncode = 0  # not ours to wait for
        _worker = None


atexit.register(stop_worker)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)

"""One worker thread that asks the model, a bounded queue in front of it, and events for who waits."""

import json
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from flowtracer.workbench.fields import Refused, one_line

WAITING = 16  # jobs in the queue, our choice
KEPT = 50  # ended jobs whose events can still be read, our choice
UNREAD = 30.0  # seconds after which a job that nobody listens to is cancelled, our choice
SHUTTING_DOWN = "the server is shutting down"

Run = Callable[["Job"], dict[str, Any]]


class Cancelled(Exception):
    """Ends a job between two tokens or two layers."""


class Job:
    """Work with its events so far, each a name and JSON; events are never changed or taken back."""

    def __init__(self, run: Run) -> None:
        self.id = secrets.token_hex(8)
        self.run = run
        self.events: list[tuple[str, str]] = []
        self.ended = False
        self.reason = ""  # of a cancellation that is not the client's
        self._cancelled = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self._silent_since = time.monotonic()
        self._lock = threading.Lock()

    def tell(self, event: str, **data: Any) -> None:
        """Add an event."""
        self._add(event, data, last=False)

    def end(self, event: str, data: dict[str, Any]) -> None:
        """Add the last event; what is told afterwards is dropped."""
        self._add(event, data, last=True)

    def _add(self, event: str, data: dict[str, Any], *, last: bool) -> None:
        encoded = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        with self._lock:
            if self.ended:
                return
            self.events.append((event, encoded))
            self.ended = last
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def check(self) -> None:
        """Raise Cancelled if the job is to end, or if nobody listens any more."""
        listens = bool(self._listeners) or time.monotonic() - self._silent_since < UNREAD
        if self._cancelled.is_set() or not listens:
            raise Cancelled

    def cancel(self, reason: str = "") -> None:
        """End the job, now if it waits, else between two tokens or layers."""
        self.reason = self.reason or reason
        self._cancelled.set()

    def attach(self, listener: Callable[[], None]) -> None:
        """Call `listener`, from another thread, after every event."""
        with self._lock:
            self._listeners.append(listener)

    def detach(self, listener: Callable[[], None]) -> bool:
        """Stop calling it; whether nobody listens any more to a job that has not ended."""
        with self._lock:
            self._listeners.remove(listener)
            self._silent_since = time.monotonic()
            return not self._listeners and not self.ended


class Jobs:
    """The queue and its worker."""

    def __init__(self, *, waiting: int = WAITING) -> None:
        self._most = waiting
        self._queue: deque[Job] = deque()
        self._known: OrderedDict[str, Job] = OrderedDict()
        self._running: Job | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._work, name="flowtracer-model", daemon=True)
        self._worker.start()

    def submit(self, run: Run) -> tuple[Job, int]:
        """Put work into the queue; returns the job and how many are in front of it.

        Raises Refused if the queue is full or the server shuts down.
        """
        job = Job(run)
        with self._changed:
            if self._closed:
                raise Refused(SHUTTING_DOWN, 503)
            if len(self._queue) >= self._most:
                raise Refused(
                    f"the model is busy and {self._most} requests wait already; try again later",
                    429,
                )
            position = len(self._queue) + (self._running is not None)
            job.tell("queued", position=position)
            self._queue.append(job)
            self._known[job.id] = job
            self._forget()
            self._changed.notify()
        return job, position

    def leave(self, job: Job, listener: Callable[[], None]) -> None:
        """Stop calling a listener; a job that loses its last one is cancelled and gives up its place."""
        if job.detach(listener):
            self.cancel(job)

    def warm_up(self, run: Callable[[], object]) -> None:
        """Do something before all work that nobody waits for, and whose failure nobody sees."""

        def quietly(job: Job) -> dict[str, Any]:
            run()
            return {}

        with self._changed:
            self._queue.appendleft(Job(quietly))
            self._changed.notify()

    def find(self, name: str) -> Job:
        """The job of this name. Raises Refused."""
        with self._changed:
            job = self._known.get(name)
        if job is None:
            raise Refused("there is no such job; it may have ended long ago", 404)
        return job

    def cancel(self, job: Job) -> None:
        """Cancel a job; one that still waits leaves the queue at once."""
        job.cancel()
        with self._changed:
            waits = job in self._queue
            if waits:
                self._queue.remove(job)
                self._tell_positions()
        if waits:
            job.end("cancelled", {})

    def close(self, *, patience: float = 0.0) -> bool:
        """Take no more work, end all jobs, and wait so many seconds for the worker; whether it ended."""
        with self._changed:
            self._closed = True
            waiting, running = list(self._queue), self._running
            self._queue.clear()
            self._changed.notify()
        for job in waiting:
            job.end("error", {"message": SHUTTING_DOWN})
        if running is not None:
            running.cancel(SHUTTING_DOWN)
            running.end("error", {"message": SHUTTING_DOWN})
        self._worker.join(patience)
        return not self._worker.is_alive()

    def _forget(self) -> None:
        ended = [name for name, job in self._known.items() if job.ended]
        for name in ended[: max(0, len(ended) - KEPT)]:
            del self._known[name]

    def _tell_positions(self) -> None:
        for position, job in enumerate(self._queue, start=self._running is not None):
            job.tell("queued", position=position)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._running = None
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._running = self._queue.popleft()
                self._tell_positions()
            run_job(job)


def run_job(job: Job) -> None:
    """Do the work and tell how it ended; no error leaves this function."""
    try:
        job.check()
        job.end("result", job.run(job))
    except Cancelled:
        if job.reason:
            job.end("error", {"message": job.reason})
        job.end("cancelled", {})
    except ValueError as error:  # ours: one sentence each
        job.end("error", {"message": one_line(error)})
    except Exception as error:
        message = f"{type(error).__name__}: {one_line(error)}" if str(error) else repr(error)
        job.end("error", {"message": message})

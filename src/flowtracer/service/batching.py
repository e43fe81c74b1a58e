"""Requests that wait for one scorer: a bounded queue, scored together, and none of them twice."""

import hashlib
import json
import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flowtracer.service.rows import Rows, check_vocabulary
from flowtracer.service.scorer import WINDOW_TOKENS, Scorer
from flowtracer.service.wire import decode_rows, encode_weights, split, too_large
from flowtracer.workbench.fields import Refused, one_line, string

GATHER_SECONDS = (
    0.005  # that the first request waits for others, our choice: little beside a forward
)
WAITING = 64  # requests in the queue, our choice
WAITING_TOKENS = (
    1 << 24
)  # of these, our choice: about a gigabyte as lists; a single request may have more
BODY = 64_000_000  # bytes of a request, our choice: MOST_TOKENS in the compact form with masks
KEPT = 64_000_000  # bytes of results that are kept for tries that come again, our choice
KEPT_ENTRY = 500  # bytes that an entry takes beside its result, roughly
SHUTTING_DOWN = "the scorer is shutting down; send the request again"

Answer = Future[bytes]  # JSON


@dataclass
class _Request:
    name: str  # "" for one without an id
    rows: Rows
    compact: bool
    answer: Answer = field(default_factory=Future)


@dataclass
class Totals:
    """What was done so far. repeated: requests that came again and were not scored again."""

    requests: int = 0
    repeated: int = 0
    batches: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0  # in the scorer


class Batcher:
    """One thread has the scorer; requests that come at about the same time share its forward passes."""

    def __init__(
        self,
        scorer: Scorer,
        *,
        waiting: int = WAITING,
        waiting_tokens: int = WAITING_TOKENS,
        gather_seconds: float = GATHER_SECONDS,
        tokens: int = WINDOW_TOKENS,
        kept: int = KEPT,
    ) -> None:
        """waiting: requests in the queue at most, waiting_tokens: theirs. tokens: of requests that are
        scored together, unless one has more. kept: bytes of results that are kept."""
        self.scorer, self.totals = scorer, Totals()
        self._waiting_tokens = waiting_tokens
        self._waiting, self._gather_seconds, self._tokens = waiting, gather_seconds, tokens
        self._queue: deque[_Request] = deque()
        self._running: Sequence[_Request] = ()
        self._several = False  # whether the last batch had more than one request
        self._results = _Results(kept)
        self._closed = False
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._work, name="flowtracer-scorer", daemon=True)
        self._worker.start()

    def submit(self, data: Mapping[str, Any]) -> Answer:
        """The answer to a request, also to one that came before under the same id.

        Raises ValueError for what is malformed, and Refused: for an id that had other contents (409), for
        too many rows or tokens (413), and, with the seconds to wait, if the queue is full or the server
        ends (503).
        """
        name = string(data, "id", "", most=100)
        compact = data.get("compact", False)
        if not isinstance(compact, bool):
            raise Refused("compact must be true or false")
        listed = data.get("lengths" if isinstance(data.get("input_ids"), str) else "input_ids")
        if isinstance(listed, list):  # before anything is made of each of millions
            _check_size(len(listed), 0)
        rows = decode_rows(data)
        _check_size(len(rows), rows.tokens)
        check_vocabulary(rows, self.scorer.vocabulary, self.scorer.picture_tokens)
        digest = _digest(data) if name else b""
        with self._changed:
            if self._closed:
                raise Refused(SHUTTING_DOWN, 503, retry_after=1)
            if name:
                known = self._results.find(name, digest)
                if known is not None:
                    self.totals.repeated += 1
                    return known
            waiting = sum(request.rows.tokens for request in self._queue)
            full = bool(self._queue) and waiting + rows.tokens > self._waiting_tokens
            if full or len(self._queue) >= self._waiting:
                raise Refused(
                    f"the scorer is busy and {len(self._queue)} requests wait already; try again later",
                    503,
                    retry_after=self._patience(),
                )
            request = _Request(name, rows, compact)
            self._queue.append(request)
            if name:
                self._results.add(name, digest, request.answer)
            self._changed.notify_all()
        return request.answer

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def close(self) -> None:
        """Take no more requests, and answer those that wait or run that the server ends."""
        with self._changed:
            self._closed = True
            ended = [*self._queue, *self._running]
            self._queue.clear()
            self._changed.notify_all()
        for request in ended:
            _fail(request, Refused(SHUTTING_DOWN, 503, retry_after=1))

    def _patience(self) -> int:
        """Seconds until the queue is probably done, between 1 and 60."""
        tokens = sum(request.rows.tokens for request in (*self._queue, *self._running))
        seconds = tokens * self.totals.seconds / max(self.totals.tokens, 1)
        return min(max(1, math.ceil(seconds)), 60)

    def _gather(self) -> Sequence[_Request]:
        """The next requests to score together; none at the end."""
        with self._changed:
            self._running = ()
            while not self._queue and not self._closed:
                self._changed.wait()
            # A single client, which sends its next request after an answer, waits for nobody.
            until = time.monotonic() + (self._gather_seconds if self._several else 0.0)
            while not self._closed and (left := until - time.monotonic()) > 0:
                if sum(request.rows.tokens for request in self._queue) >= self._tokens:
                    break
                self._changed.wait(left)
            if self._closed:
                return ()
            taken = [self._queue.popleft()]
            tokens = taken[0].rows.tokens
            while self._queue and tokens + self._queue[0].rows.tokens <= self._tokens:
                taken.append(self._queue.popleft())
                tokens += taken[-1].rows.tokens
            self._running, self._several = taken, len(taken) > 1
            return taken

    def _work(self) -> None:
        while requests := self._gather():
            try:
                self._run(requests)
            except Exception as error:  # a fault of the model or the machine: the next may succeed
                message = f"the scorer failed: {type(error).__name__}: {one_line(error)}"
                with self._changed:
                    for request in requests:
                        self._results.drop(request.name)
                for request in requests:
                    _fail(request, Refused(message, 500))

    def _run(self, requests: Sequence[_Request]) -> None:
        started = time.perf_counter()
        result = self.scorer.score(join([request.rows for request in requests]))
        parts = split(result, [len(request.rows) for request in requests])
        contents = [
            json.dumps(
                encode_weights(part, compact=request.compact), separators=(",", ":")
            ).encode()
            for request, part in zip(requests, parts, strict=True)
        ]
        with (
            self._changed
        ):  # before anybody has an answer, so that the totals hold what was answered
            totals = self.totals
            totals.requests += len(requests)
            totals.batches += 1
            totals.rows += len(result.weights)
            totals.tokens += sum(request.rows.tokens for request in requests)
            totals.seconds += time.perf_counter() - started
            for request, content in zip(requests, contents, strict=True):
                self._results.finish(request.name, len(content))
        for request, content in zip(requests, contents, strict=True):
            with suppress(InvalidStateError):  # the server ended meanwhile
                request.answer.set_result(content)


class _Results:
    """Answers by the id of their request, the oldest forgotten beyond so many bytes."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._known: dict[str, tuple[bytes, Answer]] = {}
        self._finished: deque[tuple[str, int]] = deque()

    def find(self, name: str, digest: bytes) -> Answer | None:
        """The answer, finished or not; None for a request that is new. Raises Refused."""
        if name not in self._known:
            return None
        known, answer = self._known[name]
        if known != digest:
            raise Refused("a request of this id had other contents; give each request its own", 409)
        return answer

    def add(self, name: str, digest: bytes, answer: Answer) -> None:
        """Note a request that waits."""
        self._known[name] = digest, answer

    def finish(self, name: str, size: int) -> None:
        """Keep the answer of a request, and drop the oldest until those that stay are few enough."""
        if name not in self._known:
            return
        self._finished.append((name, size + KEPT_ENTRY))
        self._bytes += size + KEPT_ENTRY
        while self._bytes > self._most:
            oldest, freed = self._finished.popleft()
            self.drop(oldest)
            self._bytes -= freed

    def drop(self, name: str) -> None:
        """Forget a request: the next of its id is scored."""
        self._known.pop(name, None)


def join(parts: Sequence[Rows]) -> Rows:
    """Rows of several requests as one; where one has masks or skips rows, all get what says the same."""
    if len(parts) == 1:
        return parts[0]
    masks = None
    if any(part.response_masks is not None for part in parts):
        masks = [mask for part in parts for mask in part.masks()]
    chosen = None
    if any(part.row_mask is not None for part in parts):
        chosen = [flag for part in parts for flag in part.row_mask or [True] * len(part)]
    return Rows(
        [row for part in parts for row in part.input_ids],
        [length for part in parts for length in part.prompt_lengths],
        masks,
        chosen,
    )


def _check_size(rows: int, tokens: int) -> None:
    refusal = too_large(rows, tokens)
    if refusal is not None:
        raise Refused(refusal, 413)


def _digest(data: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).digest()


def _fail(request: _Request, error: Exception) -> None:
    with suppress(InvalidStateError):
        request.answer.set_exception(error)

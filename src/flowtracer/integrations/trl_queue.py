"""A queue of rollouts whose tokens are weighed by a scorer while they wait."""

import queue
import threading
import time
from typing import Any

import numpy as np
import torch

from flowtracer.integrations.scored import Weighs, response_weights

BATCH = 32  # samples of one request, our choice
AHEAD = 256  # scored samples that wait, our choice; more wait unscored, and grow no staler for it
PAUSE = 0.2  # seconds between two looks at whether it was closed


class WeighedIds(np.ndarray):
    """Token ids (T,) that know their weights, a list of T numbers; TRL passes them on as they are."""

    weights: list[float]


def weights_of(ids: Any) -> list[float]:
    """Weights of token ids that went through a `ScoredQueue`."""
    weights: list[float] = ids.weights
    return weights


class ScoredQueue:
    """The queue of a rollout worker with a scorer behind it; samples come out in the order they went in.

    A thread scores what has arrived, up to BATCH samples at a time, from the first `get` on. A sample of zero
    advantage is not scored, one that cannot be has weights of 1. Where the scorer itself fails, `get` raises
    its error.
    """

    def __init__(self, rollouts: Any, scorer: Weighs, *, ahead: int = AHEAD) -> None:
        """rollouts: a queue of `RolloutSample`. ahead: most scored samples that wait."""
        self._rollouts = rollouts
        self._scorer = scorer
        self._ready: queue.Queue[Any] = queue.Queue(maxsize=ahead)
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self.seconds = 0.0  # in which the scorer worked

    def qsize(self) -> int:
        """Samples that wait, scored or not."""
        return int(self._ready.qsize() + self._rollouts.qsize())

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The next sample. Raises queue.Empty, as a queue does, or the scorer's error."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="credit-scorer", daemon=True)
            self._thread.start()
        item = self._ready.get(block, timeout)
        if isinstance(item, BaseException):
            self._ready.put(item)  # for whoever asks again
            raise item
        return item

    def close(self) -> None:
        """Let the thread end; samples that wait are lost."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * PAUSE)

    def _run(self) -> None:
        try:
            while not self._closed.is_set():
                samples = self._arrived()
                if samples:
                    began = time.perf_counter()
                    self._weigh(samples)
                    self.seconds += time.perf_counter() - began
                for sample in samples:
                    self._put(sample)
        except BaseException as error:  # to be raised where the trainer waits
            self._put(error)

    def _put(self, item: Any) -> None:
        while not self._closed.is_set():
            try:
                return self._ready.put(item, timeout=PAUSE)
            except queue.Full:
                pass

    def _arrived(self) -> list[Any]:
        """Samples that are there, none if none comes for a while."""
        samples: list[Any] = []
        try:
            samples.append(self._rollouts.get(timeout=PAUSE))
            while len(samples) < BATCH:
                samples.append(self._rollouts.get_nowait())
        except queue.Empty:
            pass
        return samples

    def _weigh(self, samples: list[Any]) -> None:
        scored = response_weights(
            self._scorer,
            [torch.as_tensor(sample.input_ids) for sample in samples],
            [torch.as_tensor(sample.completion_mask) for sample in samples],
            [bool(sample.advantage) for sample in samples],
        )
        for sample, weights in zip(samples, scored.weights, strict=True):
            ids = np.asarray(sample.input_ids).view(WeighedIds)
            ids.weights = weights.tolist()
            sample.input_ids = ids

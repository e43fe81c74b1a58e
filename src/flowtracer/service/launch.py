"""Start the server of a scorer."""

import ctypes
import socket
import threading
import warnings
from collections.abc import Callable

from flowtracer.service.app import build_app
from flowtracer.service.batching import Batcher
from flowtracer.service.scorer import Scorer
from flowtracer.workbench.guard import Access
from flowtracer.workbench.launch import run_app

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def serve_scorer(
    scorer: Scorer,
    bound: socket.socket,
    *,
    access: Access,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM; meanwhile newer checkpoints are looked for.

    started: called when the server answers.
    """
    keep_freed_memory()
    batcher = Batcher(scorer)
    ended = watch(scorer)

    def close() -> None:
        ended.set()
        batcher.close()

    run_app(build_app(batcher, access), bound, close=close, started=started)


def keep_freed_memory() -> None:
    """Let glibc keep what a forward pass frees for the next one; without glibc, nothing.

    Otherwise tensors of megabytes go back to the system after every pass, and a server on a CPU takes about a
    tenth longer to fault them in again.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, 1 << 30)
    mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def watch(scorer: Scorer) -> threading.Event:
    """Refresh the scorer in a thread of its own until the event is set."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(scorer.look_seconds):
            try:
                if scorer.refresh_if_newer():
                    print(f"scores by {scorer.revision}", flush=True)
            except Exception as error:  # the next checkpoint may be better
                warnings.warn(f"the scorer keeps {scorer.revision}: {error}", stacklevel=1)

    if scorer.watches:
        threading.Thread(target=look, name="flowtracer-checkpoints", daemon=True).start()
    return ended

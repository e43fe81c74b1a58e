"""Start the server of a scorer."""

import socket
import threading
import warnings
from collections.abc import Callable

from flowtracer.service.app import build_app
from flowtracer.service.batching import Batcher
from flowtracer.service.scorer import Scorer
from flowtracer.workbench.guard import Access
from flowtracer.workbench.launch import run_app


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
    batcher = Batcher(scorer)
    ended = watch(scorer)

    def close() -> None:
        ended.set()
        batcher.close()

    run_app(build_app(batcher, access), bound, close=close, started=started)


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

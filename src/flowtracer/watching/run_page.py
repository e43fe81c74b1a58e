"""The page of a run: as a file in its folder, and as `Html` where the run reports to."""

import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flowtracer.render.rollouts_page import rollouts_html
from flowtracer.storage import atomic_write
from flowtracer.watching.formats import read_rollouts
from flowtracer.watching.page_data import page_data
from flowtracer.watching.parts import FOLDER, PAGE_FILE, logged_steps
from flowtracer.watching.rollout import WatchedFile, WatchedRollout

TRACKERS = ("trackio", "wandb")


@contextmanager
def warned(what: str) -> Iterator[None]:
    """A block whose failure is a warning: what is watched must not end a run."""
    try:
        yield
    except Exception as error:
        warnings.warn(f"{what} ({type(error).__name__}: {error})", stacklevel=3)


def save_run_page(folder: Path) -> Path | None:
    """Write the page of a run's folder, if it has rollouts; returns where it is. Warns if that fails."""
    with warned(f"{folder / PAGE_FILE} is not written"):
        if logged_steps(folder):
            watched = read_rollouts(folder / FOLDER)
            return save_page(watched, folder / PAGE_FILE, title=folder.resolve().name)
    return None


def save_page(watched: WatchedFile, path: Path, *, title: str = "") -> Path:
    """Write the page of rollouts, atomically."""
    with atomic_write(path) as partial:
        partial.write_text(rollouts_html(page_data(watched, title=title)), encoding="utf-8")
    return path


def report_html(
    rollouts: Sequence[WatchedRollout], step: int, report_to: Sequence[str] | str | None
) -> None:
    """Show the rollouts of a step as a page in trackio and wandb, where the run reports to them."""
    names = [report_to] if isinstance(report_to, str) else report_to or ()
    for name in TRACKERS:
        tracker = sys.modules.get(name)  # the trainer has imported it, if it reports there
        if name not in names or tracker is None or (name == "wandb" and tracker.run is None):
            continue
        with warned(f"{name} did not take the page of rollouts"):
            page = rollouts_html(page_data(WatchedFile(rollouts, f"step {step}")))
            tracker.log({"rollouts": tracker.Html(io.StringIO(page)), "train/global_step": step})

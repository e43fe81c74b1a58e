"""Write a trace as what its file's name says: numbers, a page, or a figure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flowtracer.render import save_page
from flowtracer.storage import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowtracer.tracing.data import Trace


def save(trace: "Trace", path: Path) -> None:
    """See `Trace.save`."""
    write = WRITERS.get(path.suffix)
    if write is None:
        raise ValueError(
            f"{path}: a trace cannot be saved as {path.suffix or 'a file without a suffix'}; use "
            ".json (numbers, which load_trace reads), .html (a page), .png or .svg (a figure)"
        )
    write(trace, path)


def figure_of(trace: "Trace", kind: str) -> "Figure":
    """See `Trace.plot`."""
    from flowtracer.render.figures import ranked_bars, token_graph

    if kind == "graph":
        return token_graph(trace)
    if kind != "bars":
        raise ValueError(f"kind is {kind!r}; use 'graph' or 'bars'")
    figure = ranked_bars(trace)
    if figure is None:
        raise ValueError("the response repeats too few pieces to rank them; use kind='graph'")
    return figure


def _save_json(trace: "Trace", path: Path) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(trace.to_json(), ensure_ascii=True), encoding="utf-8")


def _save_figure(trace: "Trace", path: Path) -> None:
    from flowtracer.render.figures import save_figure

    save_figure(trace.plot(), path)


WRITERS: dict[str, Callable[["Trace", Path], object]] = {
    ".json": _save_json,
    ".html": save_page,
    ".png": _save_figure,
    ".svg": _save_figure,
}

"""Static figures for papers and slides: the token graph and ranked pieces (the paper's figures 2 and 3).

The same trace gives the same bytes: no dates, no random ids.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from flowtracer.render.bars import ranked_bars
from flowtracer.render.graph import token_graph
from flowtracer.storage import atomic_write

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace

__all__ = ["ranked_bars", "save_figure", "save_figures", "token_graph"]

DPI = 300  # what journals require
# Letters as shapes, to fit their boxes wherever the file is opened; unhinted, so that widths are true.
SETTINGS: Any = {
    "svg.hashsalt": "flowtracer", "svg.fonttype": "path", "text.hinting": "no_hinting",
}  # fmt: skip


def save_figures(
    trace: "Trace",
    folder: str | os.PathLike[str],
    *,
    formats: tuple[str, ...] = ("png", "svg"),
    cloud: bool = False,
) -> list[Path]:
    """Write `graph` and `bars` (and `cloud`) in every format into a folder; the paths written.

    There is no `bars` of a response that repeats too few pieces to rank them.
    """
    figures = {"graph": token_graph(trace), "bars": ranked_bars(trace)}
    if cloud:
        from flowtracer.render.cloud import word_cloud

        figures["cloud"] = word_cloud(trace)
    return [
        save_figure(figure, Path(folder) / f"{name}.{kind}")
        for name, figure in figures.items()
        if figure is not None
        for kind in formats
    ]


def save_figure(figure: Figure, path: Path) -> Path:
    """Write one figure as .png or .svg, the same bytes every time."""
    with matplotlib.rc_context(SETTINGS), atomic_write(path) as partial:
        if path.suffix == ".svg":
            FigureCanvasSVG(figure).print_svg(partial, metadata={"Date": None, "Creator": None})
        else:
            FigureCanvasAgg(figure)
            figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    return path

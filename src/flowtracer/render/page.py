"""A trace as one HTML file that works offline: it contains no address of any kind."""

import html
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from flowtracer.render.page_data import page_data
from flowtracer.render.visible import one_line
from flowtracer.storage import atomic_write

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace

NOTEBOOK_HEIGHT = 720  # pixels, our choice
# The files of one view, in the order in which they are loaded; the workbench loads the same.
VIEW_STYLES = ("theme.css", "view.css")
VIEW_SCRIPTS = (
    "dom.js", "colours.js", "model.js", "skeleton.js", "picture.js", "text.js", "strip.js", "arcs.js",
    "summary.js", "panel.js", "controls.js", "pointer.js", "keys.js", "view.js",
)  # fmt: skip


def page_html(trace: "Trace") -> str:
    """The page: style, script and data inline. Token text is data, never markup."""
    return framed(
        "page.html",
        title=f"Flow to {one_line(trace.answer)[:60]} - {one_line(trace.provenance.model)}",
        styles=(*VIEW_STYLES, "page.css"),
        scripts=(*VIEW_SCRIPTS, "page.js"),
        data=page_data(trace),
    )


def framed(
    body: str, *, title: str, styles: Sequence[str], scripts: Sequence[str], data: Any
) -> str:
    """A page that needs no other file. body, styles, scripts: names of assets; data: for the scripts."""
    return Template(asset("frame.html")).substitute(
        title=html.escape(title),
        body=asset(body),
        style="\n".join(map(asset, styles)),
        script="\n".join(map(asset, scripts)),
        data=script_json(data),
    )


def script_json(data: Any) -> str:
    """Data as JSON that can stand in a script element. Raises ValueError for a number that is not finite."""
    # In a script element only "</script" and "<!--" can end or change it: no "<" is left.
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def asset(name: str) -> str:
    """The text of a file of the page."""
    return (files("flowtracer.render") / "assets" / name).read_text(encoding="utf-8")


def save_page(trace: "Trace", path: str | os.PathLike[str]) -> None:
    """Write the page as UTF-8."""
    with atomic_write(Path(path)) as partial:
        partial.write_text(page_html(trace), encoding="utf-8")


def notebook_frame(trace: "Trace") -> str:
    """The page in an iframe, so that several in one notebook do not affect each other."""
    return (
        f'<iframe srcdoc="{html.escape(page_html(trace), quote=True)}" '
        f'style="width:100%;height:{NOTEBOOK_HEIGHT}px;border:1px solid #8884" '
        'sandbox="allow-scripts" title="flowtracer"></iframe>'
    )

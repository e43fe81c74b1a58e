"""A trace as one HTML file that works offline: it contains no address of any kind."""

import html
import json
import os
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from flowtracer.render.page_data import page_data
from flowtracer.render.visible import one_line
from flowtracer.storage import atomic_write

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace

NOTEBOOK_HEIGHT = 720  # pixels, our choice


def page_html(trace: "Trace") -> str:
    """The page: style, script and data inline. Token text is data, never markup."""
    assets = files("flowtracer.render") / "assets"
    # In a script element only "</script" and "<!--" can end or change it: no "<" is left.
    data = json.dumps(page_data(trace), ensure_ascii=True, separators=(",", ":"))
    data = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    answer = "".join(unit.text for unit in trace.units if trace.roles[unit.last] == "answer")
    return Template((assets / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(f"Flow to {one_line(answer)[:60]} - {one_line(trace.provenance.model)}"),
        style=(assets / "page.css").read_text(encoding="utf-8"),
        script=(assets / "page.js").read_text(encoding="utf-8"),
        data=data,
    )


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

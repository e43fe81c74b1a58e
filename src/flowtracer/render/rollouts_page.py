"""Rollouts of a run as one HTML file that works offline: it contains no address of any kind."""

from collections.abc import Mapping
from typing import Any

from flowtracer.render.page import framed
from flowtracer.render.visible import one_line

STYLES = ("theme.css", "page.css", "rollouts.css")
SCRIPTS = (
    "dom.js", "colours.js", "rollouts_colours.js", "rollouts_model.js", "rollouts_text.js",
    "rollouts_card.js", "rollouts_controls.js", "rollouts.js",
)  # fmt: skip


def rollouts_html(data: Mapping[str, Any]) -> str:
    """The page: style, script and data inline. Token text is data, never markup.

    data: of `watching.page_data`.
    """
    return framed(
        "rollouts.html",
        title=f"Rollouts of {one_line(data['title'])[:80]}",
        styles=STYLES,
        scripts=SCRIPTS,
        data=data,
    )

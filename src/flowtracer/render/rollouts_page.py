"""Rollouts of a run as one HTML file that works offline: it contains no address of any kind."""

import html
from collections.abc import Mapping
from string import Template
from typing import Any

from flowtracer.render.page import asset, script_json
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
    return Template(asset("rollouts.html")).substitute(
        title=html.escape(f"Rollouts of {one_line(data['title'])[:80]}"),
        style="\n".join(map(asset, STYLES)),
        script="\n".join(map(asset, SCRIPTS)),
        data=script_json(data),
    )

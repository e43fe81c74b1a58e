"""Sessions that come with the package, written by scripts/gallery.py."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from flowtracer.workbench.fields import Refused


@cache
def _sessions() -> dict[str, dict[str, Any]]:
    folder = files("flowtracer.workbench") / "gallery"
    return {
        file.name.removesuffix(".json"): json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".json")
    }


def list_gallery() -> list[dict[str, str]]:
    """Name, title and note of each session."""
    return [
        {
            "name": name,
            "title": session["title"],
            "note": session["note"],
            "model": session["model"],
        }
        for name, session in _sessions().items()
    ]


def gallery_session(name: str) -> dict[str, Any]:
    """A session by its name. Raises Refused."""
    if name not in _sessions():
        raise Refused("there is no such example", 404)
    return _sessions()[name]

"""What a result came from: versions, commit, model, command and date."""

import json
import subprocess
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flowtracer.storage import write_json

MADE_FILE = "made.json"


def note_making(folder: Path) -> None:
    """Remember with what the rows that follow are made; a study that goes on later may have several."""
    path = folder / MADE_FILE
    made = json.loads(path.read_text()) if path.exists() else []
    now = _now()
    if now not in made:
        write_json(path, [*made, now])


def provenance(model: str, command: str, folder: Path) -> dict[str, Any]:
    """For the record of a study in a folder: what its rows were made with, its model and command."""
    path = folder / MADE_FILE
    return {
        "model": model_name(model),
        "command": command,
        "made": json.loads(path.read_text()) if path.exists() else [_now()],
    }


def _now() -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        "commit": _commit(),
        "versions": {name: version(name) for name in ("flowtracer", "torch", "transformers")},
    }


def model_name(model: str) -> str:
    """A hub id as it is, a folder without what is in front of its name."""
    return Path(model).name if "/" in model and Path(model).expanduser().exists() else model


def without_paths(study: Any) -> dict[str, Any]:
    """A study's settings in plain values, its model by name only."""
    return shortened(asdict(study))


def shortened(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with folders and files named by the last part of their path."""
    found = dict(settings)
    for name, value in settings.items():
        if isinstance(value, dict):
            found[name] = shortened(value)
        elif name in ("model", "task") and isinstance(value, str):
            found[name] = model_name(value)
    return found


def provenance_line(origin: dict[str, Any]) -> str:
    """The same as a sentence."""
    made = []
    for one in origin["made"]:
        versions = ", ".join(f"{name} {number}" for name, number in one["versions"].items())
        commit = f", commit {one['commit']}" if one["commit"] else ""
        made.append(f"{one['date']}, {versions}{commit}")
    command = f"; `{origin['command']}`" if origin["command"] else ""
    return f"Model {origin['model']}; made {'; '.join(made)}{command}."


def _commit() -> str | None:
    """The commit of the checkout that the package runs from, marked if files differ from it."""
    here = Path(__file__).resolve().parent
    top = _git(here, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() / "src" / "flowtracer" != here.parent:
        return None  # installed, perhaps into somebody else's checkout
    return _git(here, "describe", "--always", "--dirty", "--exclude", "*")


def _git(folder: Path, *words: str) -> str | None:
    try:
        found = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None

"""What a result came from: versions, commit, model, command and date."""

import subprocess
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any


def provenance(model: str, command: str) -> dict[str, Any]:
    """For the record of a study; the commit only where the package runs from a checkout."""
    return {
        "model": model_name(model),
        "command": command,
        "date": date.today().isoformat(),
        "commit": _commit(),
        "versions": {name: version(name) for name in ("flowtracer", "torch", "transformers")},
    }


def model_name(model: str) -> str:
    """A hub id as it is, a folder without what is in front of its name."""
    return Path(model).name if "/" in model and Path(model).expanduser().exists() else model


def without_paths(study: Any) -> dict[str, Any]:
    """A study's settings in plain values, its model by name only."""
    found = asdict(study)
    for one in (found, found.get("solutions")):
        if isinstance(one, dict) and "model" in one:
            one["model"] = model_name(one["model"])
    return found


def provenance_line(origin: dict[str, Any]) -> str:
    """The same as a sentence."""
    versions = ", ".join(f"{name} {number}" for name, number in origin["versions"].items())
    commit = f", commit {origin['commit']}" if origin["commit"] else ""
    command = f"; `{origin['command']}`" if origin["command"] else ""
    return f"{origin['date']}; model {origin['model']}; {versions}{commit}{command}."


def _commit() -> str | None:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None

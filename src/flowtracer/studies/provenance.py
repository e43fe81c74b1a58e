"""What a result came from: versions, commit, model, command and date."""

import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flowtracer.storage import read_json, write_json

ENVIRONMENTS_FILE = "environments.json"
PACKAGES = ("flowtracer", "torch", "transformers")


def note_environment(folder: Path, packages: Sequence[str] = PACKAGES) -> None:
    """Record the versions with which the following rows are computed; a resumed study may have several."""
    environments = _read(folder)
    now = _now(packages)
    if now not in environments:
        write_json(folder / ENVIRONMENTS_FILE, [*environments, now])


def provenance(model: str, command: str, folder: Path) -> dict[str, Any]:
    """For the record of a study in a folder: the versions behind its rows, its model and command."""
    return {
        "model": model_name(model),
        "command": command,
        "environments": _read(folder) or [_now(PACKAGES)],
    }


def _read(folder: Path) -> list[dict[str, Any]]:
    path = folder / ENVIRONMENTS_FILE
    environments: list[dict[str, Any]] = read_json(path, list) if path.exists() else []
    return environments


def _now(packages: Sequence[str]) -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        "commit": _commit(),
        "versions": {package: version(package) for package in packages},
    }


def model_name(model: str) -> str:
    """A hub id and a folder below the current one as they are, another folder by its name alone."""
    path = Path(model).expanduser()
    outside = path.is_absolute() or ".." in path.parts
    return path.name if outside and path.exists() else model


def without_paths(study: Any) -> dict[str, Any]:
    """A study's settings in plain values, without paths of this machine."""
    return shortened(asdict(study))


def shortened(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without the paths of what is outside the current folder."""
    short = dict(settings)
    for name, value in settings.items():
        if isinstance(value, dict):
            short[name] = shortened(value)
        elif name in ("model", "start_model", "frozen", "task", "source") and isinstance(
            value, str
        ):
            short[name] = model_name(value)
    return short


def provenance_line(origin: dict[str, Any]) -> str:
    """The same as a sentence."""
    environments = []
    for environment in origin["environments"]:
        versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
        commit = f", commit {environment['commit']}" if environment["commit"] else ""
        environments.append(f"{environment['date']}, {versions}{commit}")
    command = f"; `{origin['command']}`" if origin["command"] else ""
    return f"Model {origin['model']}; made {'; '.join(environments)}{command}."


def _commit() -> str | None:
    """The commit of the checkout that the package runs from, marked if files differ from it."""
    here = Path(__file__).resolve().parent
    top = _git(here, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() / "src" / "flowtracer" != here.parent:
        return None  # installed, perhaps into somebody else's checkout
    return _git(here, "describe", "--always", "--dirty", "--exclude", "*")


def _git(folder: Path, *words: str) -> str | None:
    try:
        ended = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None

"""How a study writes its figures, and the files that it ends with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from flowtracer.evaluation.intervals import Interval
from flowtracer.storage import atomic_write


def write_table(
    out: Path, lines: Sequence[str], figures: dict[str, Any], figure: Figure | None = None
) -> Path:
    """Write `table.md`, `figures.json` and, if there is one, `figure.png`; the table's path."""
    if figure is not None:
        with atomic_write(out / "figure.png") as partial:
            figure.savefig(partial, format="png", dpi=150, metadata={"Software": None})
    for name, text in (
        ("figures.json", json.dumps(figures, indent=1, ensure_ascii=False)),
        ("table.md", "\n".join(lines)),
    ):
        with atomic_write(out / name) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
    return out / "table.md"


def percent(one: Interval) -> str:
    """A share with its interval."""
    return f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"


def points(one: Interval | None) -> str:
    """A difference of shares in points; nothing if there is none."""
    if one is None:
        return ""
    return f"{100 * one.value:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"


def nats(one: Interval | None, sign: str = "") -> str:
    """A drop in log-probability."""
    return (
        "" if one is None else f"{one.value:{sign}.2f} [{one.low:{sign}.2f}, {one.high:{sign}.2f}]"
    )

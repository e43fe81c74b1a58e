"""The files that every study ends with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from flowtracer.atomic import replacing


def write_table(
    out: Path, lines: Sequence[str], figures: dict[str, Any], figure: Figure | None = None
) -> Path:
    """Write `table.md`, `figures.json` and, if there is one, `figure.png`; the table's path."""
    if figure is not None:
        with replacing(out / "figure.png") as partial:
            figure.savefig(partial, format="png", dpi=150, metadata={"Software": None})
    for name, text in (
        ("figures.json", json.dumps(figures, indent=1, ensure_ascii=False)),
        ("table.md", "\n".join(lines)),
    ):
        with replacing(out / name) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
    return out / "table.md"

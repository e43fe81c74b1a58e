"""How a study writes its figures, and the files that it ends with."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from flowtracer.render.charts import save_chart
from flowtracer.statistics.intervals import Interval
from flowtracer.storage import atomic_write
from flowtracer.studies.provenance import provenance, provenance_line, without_paths
from flowtracer.studies.verdicts import Verdict

PICTURE = "![The table as a picture](figure.png)"
KINDS = "Wilson's for rates of single draws, else the bootstrap"  # of intervals


def write_table(
    out: Path, lines: Sequence[str], figures: dict[str, Any], figure: Figure | None = None
) -> Path:
    """Write `table.md`, `figures.json` and, if there is one, `figure.png`; the table's path."""
    if figure is not None:
        save_chart(figure, out / "figure.png")
    for name, text in (
        ("figures.json", json.dumps(figures, indent=1, ensure_ascii=False)),
        ("table.md", "\n".join(lines)),
    ):
        with atomic_write(out / name) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
    return out / "table.md"


def write_judged(
    study: Any,
    out: Path,
    *,
    command: str,
    title: str,
    what: str,
    table: Sequence[str],
    verdicts: Sequence[Verdict],
    paragraph: str,
    figures: dict[str, Any],
    figure: Figure,
) -> Path:
    """`write_table` of a study that ends in verdicts: what was done, the table, and what follows."""
    origin = provenance(study.model, command, out)
    lines = [f"# {title}: {study.task}", "", what, "", *table, "", PICTURE, "", paragraph, ""]
    judged = {
        "study": without_paths(study),
        "provenance": origin,
        "recommendation": paragraph,
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }
    return write_table(out, [*lines, provenance_line(origin)], judged | figures, figure)


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def percent(interval: Interval) -> str:
    """A rate with its interval."""
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def points(interval: Interval | None) -> str:
    """A difference of rates in points; nothing if there is none."""
    if interval is None:
        return ""
    value, low, high = (100 * bound for bound in (interval.value, interval.low, interval.high))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def nats(interval: Interval | None, sign: str = "") -> str:
    """A figure that is no rate, such as a drop in log-probability, with its interval."""
    if interval is None:
        return ""
    return f"{interval.value:{sign}.2f} [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]"

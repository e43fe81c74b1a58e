"""The section `flowtracer` of a verl config as credit."""

from collections.abc import Mapping
from typing import Any

from flowtracer.credit import Credit, Selection, Weighting

KEYS: dict[str, Any] = {
    "scorer": "flow",
    "emphasis": 1.5,
    "weighting": "emphasis",
    "share": 0.4,
    "by": "ratio",
    "end": "top",
    "layers": "middle",
    "answer": "boxed",
    "answer_tokens": "absorb",
}


def read_credit(section: Mapping[str, Any]) -> Credit:
    """Credit of these settings; what is left out has the paper's value.

    Raises ValueError for a key or a value that is unknown.
    """
    unknown = sorted(set(section) - set(KEYS))
    if unknown:
        raise ValueError(f"flowtracer.{unknown[0]} is unknown; use {', '.join(KEYS)}")
    given = KEYS | dict(section)
    return Credit(
        scorer=given["scorer"],
        selection=Selection(by=given["by"], share=float(given["share"]), end=given["end"]),
        weighting=Weighting(given["weighting"], float(given["emphasis"])),
        layers=given["layers"],
        answer=given["answer"],
        answer_tokens=given["answer_tokens"],
    )

"""The data of the page: a trace in units (pieces of text) instead of tokens."""

from statistics import median
from typing import TYPE_CHECKING, Any

from flowtracer.flow import BACKBONE_RATIO
from flowtracer.render.colours import CIVIDIS, full_scale
from flowtracer.render.visible import visible

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace

ROLE_CODES = {"template": "t", "user": "u", "response": "r", "answer": "a"}


def page_data(trace: "Trace") -> dict[str, Any]:
    """Plain data for the page's script; all positions are unit numbers unless they say token.

    A unit's scores are those of its strongest token (adding them up would count flow between its
    own tokens twice). Edges between the same two units are added; edges inside a unit are dropped.
    """
    units = trace.units
    unit_of = [0] * len(trace.ids)
    for number, unit in enumerate(units):
        for token in range(unit.first, unit.last + 1):
            unit_of[token] = number
    strongest = [
        max(range(unit.first, unit.last + 1), key=trace.throughput.__getitem__) for unit in units
    ]
    scores = [trace.throughput[token] for token in strongest]
    roles = "".join(ROLE_CODES[trace.roles[unit.last]] for unit in units)

    edges: dict[tuple[int, int], float] = {}
    for source, target, flow in trace.edges:
        pair = (unit_of[source], unit_of[target])
        if pair[0] != pair[1]:
            edges[pair] = edges.get(pair, 0.0) + flow
    ordered = sorted(edges.items(), key=lambda item: (-item[1], item[0]))
    shown = [visible(unit.text) for unit in units]
    return {
        "units": [unit.text for unit in units],
        "shown": {i: text for i, text in enumerate(shown) if text != units[i].text},
        "first": [unit.first for unit in units],
        "last": [unit.last for unit in units],
        "ids": [list(trace.ids[unit.first : unit.last + 1]) for unit in units],
        "roles": roles,
        "score": [_short(score) for score in scores],
        "potential": [_short(trace.potential[token]) for token in strongest],
        "edges": [value for (s, t), f in ordered for value in (s, t, _short(f))],
        "backbone": sorted({unit_of[token] for token in trace.backbone(BACKBONE_RATIO)}),
        "hubs": sorted({unit_of[token] for token in trace.hubs}),
        "routes": [
            {"units": [unit_of[token] for token in route.tokens], "p": route.probability}
            for route in trace.routes
        ],
        "full": full_scale(scores, [role == "r" for role in roles]),
        "palette": list(CIVIDIS),
        "meta": {
            "model": trace.provenance.model,
            "layers": _ranges(trace.provenance.layers),
            "hub spacing": f"{median(trace.hub_spacing):g} (median)" if trace.hub_spacing else "-",
            "answer": trace.provenance.answer_rule,
            "question": trace.provenance.question,
            "answer tokens": trace.provenance.answer_tokens,
            "dtype": trace.provenance.dtype,
            "versions": ", ".join(f"{k} {v}" for k, v in trace.provenance.versions.items()),
        },
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _ranges(numbers: tuple[int, ...]) -> str:
    """ "10-19" for consecutive layers, "1, 3-5" otherwise."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)

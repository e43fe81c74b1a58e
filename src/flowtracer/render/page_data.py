"""The data of the page: a trace in units (pieces of text) instead of tokens."""

from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any

from flowtracer.flow import BACKBONE_RATIO
from flowtracer.render.colours import CIVIDIS
from flowtracer.render.pictures import picture_ratios
from flowtracer.render.visible import one_line, visible

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace

ROLE_CODES = {"template": "t", "user": "u", "response": "r", "answer": "a"}
SCORER_NOTES = {
    "flow": "Throughput: how much of the flow from the prompt to the answer passes through the token.",
    "random": "Random numbers, a control.",
    "attention_max": "The most that a later token of the response attends to the token.",
    "answer_attention": "How much the answer attends to the token, in one hop.",
    "rollout": "Attention rollout: the answer's attention followed through as many steps as layers.",
    "position": "The token's number in the response, a control.",
    "delimiters": "1 for tokens without letter and digit, a control.",
}


def page_data(trace: "Trace") -> dict[str, Any]:
    """Plain data for the page's scripts; all positions are unit numbers unless they say token.

    A unit's scores are those of its strongest token (adding them up would count flow between its
    own tokens twice). Edges between the same two units are added; edges inside a unit are dropped.
    """
    units = trace.units
    unit_of = [
        number for number, unit in enumerate(units) for _ in range(unit.first, unit.last + 1)
    ]
    strongest = [
        max(range(unit.first, unit.last + 1), key=trace.throughput.__getitem__) for unit in units
    ]
    shown = [visible(unit.text) for unit in units]
    pictures = _pictures(trace, unit_of)
    for number, picture in enumerate(pictures, start=1):
        name = "patch " if len(pictures) == 1 else f"patch {number}:"
        for at in range(picture["last"] - picture["first"] + 1):
            row, column = divmod(at, picture["columns"])
            shown[picture["first"] + at] = f"{name}{row + 1},{column + 1}"
    roles = "".join(ROLE_CODES[trace.roles[unit.last]] for unit in units)
    return {
        "units": [unit.text for unit in units],
        "shown": {i: text for i, text in enumerate(shown) if text != units[i].text},
        "first": [unit.first for unit in units],
        "last": [unit.last for unit in units],
        "ids": [list(trace.ids[unit.first : unit.last + 1]) for unit in units],
        "roles": roles,
        "scorers": _scorers(trace),
        "layers": _layers(trace),
        "potential": [_short(trace.potential[token]) for token in strongest],
        "edges": _edges(trace, unit_of),
        "backbone": sorted({unit_of[token] for token in trace.backbone(BACKBONE_RATIO)}),
        "ratio": BACKBONE_RATIO,
        "hubs": sorted({unit_of[i] for i in trace.hubs if trace.roles[i] != "answer"}),
        "routes": [
            {"units": [unit_of[token] for token in route.tokens], "p": route.probability}
            for route in trace.routes
        ],
        "direct": trace.direct,
        "through_one": trace.through_one,
        "stops": _short(
            sum(f for f, role in zip(trace.inflow, trace.roles, strict=True) if role == "response")
        ),
        "answer": _answer(trace),
        "regions": regions(trace),
        "pictures": pictures,
        "cut_off": trace.cut_off,
        "palette": list(CIVIDIS),
        "meta": _meta(trace),
    }


def _pictures(trace: "Trace", unit_of: list[int]) -> list[dict[str, Any]]:
    """Units, grid, size, thumbnail and ratio of the flow of each picture."""
    return [
        asdict(picture)
        | {
            "first": unit_of[picture.first],
            "last": unit_of[picture.last],
            "flow": _short(ratio),
            "tokens": picture.last - picture.first + 1,
        }
        for picture, ratio in zip(trace.pictures, picture_ratios(trace), strict=True)
    ]


def regions(trace: "Trace") -> list[dict[str, Any]]:
    """Name, ratio of the throughput and tokens of each region, the answer left out."""
    carried = {"template": 0.0, "user": 0.0, "picture": 0.0, "response": 0.0}
    tokens = dict.fromkeys(carried, 0)
    inside = {
        token for picture in trace.pictures for token in range(picture.first, picture.last + 1)
    }
    for token, (role, throughput) in enumerate(zip(trace.roles, trace.throughput, strict=True)):
        if role != "answer":
            name = "picture" if token in inside else role
            carried[name] += throughput
            tokens[name] += 1
    total = sum(carried.values()) or 1.0
    return [
        {"name": name, "flow": _short(carried[name] / total), "tokens": tokens[name]}
        for name in carried
        if tokens[name]
    ]


def _scorers(trace: "Trace") -> dict[str, Any]:
    """The flow's throughput, then every other scorer; of a unit the highest score of its tokens."""
    scores = {"flow": trace.throughput, **trace.scores}
    return {
        name: {"score": _by_unit(trace, values), "note": SCORER_NOTES.get(name, "")}
        for name, values in scores.items()
    }


def _layers(trace: "Trace") -> dict[str, Any] | None:
    """Throughput of each layer alone, or None where it was not computed."""
    if not trace.layer_throughput:
        return None
    rows = [_by_unit(trace, values) for values in trace.layer_throughput]
    return {"numbers": list(trace.provenance.layers), "throughput": rows}


def _by_unit(trace: "Trace", values: tuple[float, ...]) -> list[float]:
    return [_short(max(values[unit.first : unit.last + 1])) for unit in trace.units]


def _edges(trace: "Trace", unit_of: list[int]) -> list[float]:
    """Source, target and flow of one edge after the other, strongest first."""
    edges: dict[tuple[int, int], float] = {}
    for source, target, flow in trace.edges:
        pair = (unit_of[source], unit_of[target])
        if pair[0] != pair[1]:
            edges[pair] = edges.get(pair, 0.0) + flow
    ordered = sorted(edges.items(), key=lambda item: (-item[1], item[0]))
    return [value for (s, t), f in ordered for value in (s, t, _short(f))]


def _answer(trace: "Trace") -> dict[str, Any]:
    """Its text, several spans with dots between, how it was found, and whether it is right."""
    spans: list[str] = []
    before = ""
    for unit in trace.units:
        role = trace.roles[unit.last]
        if role == "answer":
            spans[len(spans) - (before == "answer") :] = [
                (spans[-1] if before == "answer" else "") + unit.text
            ]
        before = role
    return {
        "text": " … ".join(one_line(span.strip()) for span in spans),
        "rule": one_line(trace.matched_rule),
        "correct": trace.correct,
        "tokens": trace.roles.count("answer"),
    }


def _meta(trace: "Trace") -> dict[str, str]:
    made = trace.provenance
    unseen = {}
    if made.unseen_layers:
        unseen["not seen"] = (
            "what a hybrid model passes on by linear attention, a convolution or a state space, here in "
            f"layers {_ranges(made.unseen_layers)}"
        )
    return {
        "model": one_line(made.model),
        "layers": _ranges(made.layers) + (" (of those with softmax attention)" if unseen else ""),
        **unseen,
        "hub spacing": f"{median(trace.hub_spacing):g} (median)" if trace.hub_spacing else "-",
        "answer rule": one_line(made.answer_rule),
        "flow enters at": made.question,
        "answer tokens": made.answer_tokens,
        "dtype": made.dtype,
        "versions": ", ".join(f"{k} {v}" for k, v in made.versions.items()),
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _ranges(numbers: tuple[int, ...]) -> str:
    """ "10-19" for consecutive layers, "1, 3-5" otherwise; as in models, which a page does not import."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)

"""Pictures of a trace as single items, where there is no room for a map of their patches."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace, Unit


def picture_ratios(trace: "Trace") -> list[float]:
    """Each picture's ratio of the throughput of all tokens, the answer left out as in `regions`."""
    pairs = zip(trace.roles, trace.throughput, strict=True)
    total = sum(value for role, value in pairs if role != "answer") or 1.0
    return [
        sum(trace.throughput[picture.first : picture.last + 1]) / total
        for picture in trace.pictures
    ]


def items(trace: "Trace") -> list["Unit"]:
    """The units of the text, with each picture as one that tells its ratio of the flow."""
    units = list(trace.units)
    ratios = picture_ratios(trace)
    for number in reversed(range(len(trace.pictures))):
        picture = trace.pictures[number]
        inside = [
            number_of_unit
            for number_of_unit, unit in enumerate(units)
            if unit.first <= picture.last and picture.first <= unit.last
        ]
        name = "picture" if len(ratios) == 1 else f"picture {number + 1}"
        text = f"[{name}: {percent(ratios[number])} of the flow]"
        joined = units[inside[0]]._replace(last=units[inside[-1]].last, text=text)
        units[inside[0] : inside[-1] + 1] = [joined]
    return units


def percent(ratio: float) -> str:
    """Two significant digits."""
    return f"{100 * ratio:.2g}%" if ratio >= 1e-4 or ratio == 0 else "<0.01%"

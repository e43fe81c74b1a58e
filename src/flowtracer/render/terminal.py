"""A trace in the terminal: coloured text and a table of hubs."""

from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.style import Style
from rich.table import Table
from rich.text import Text

from flowtracer.render.colours import colour, ink, levels
from flowtracer.render.pictures import items
from flowtracer.render.visible import one_line, visible

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace

MOST_HUBS = 12  # our choice: what fits below the text on a screen


def coloured_text(trace: "Trace") -> Text:
    """The text coloured by throughput; the answer is bold and underlined, the template dim."""
    level = levels(trace.throughput, trace.roles)
    text = Text()
    for unit in items(trace):
        strongest = max(level[unit.first : unit.last + 1])
        role = trace.roles[unit.last]
        background = colour(strongest) if strongest > 0 else None
        style = Style(
            color=ink(background) if background else None,
            bgcolor=background,
            bold=role == "answer",
            underline=role == "answer",
            italic=role == "template",
            dim=role == "template" and background is None,
        )
        for n, line in enumerate(visible(unit.text).split("\n")):
            if n:
                text.append("\n")
            text.append(line, style)
    return text


def hub_table(trace: "Trace") -> Table:
    """The strongest hubs of the response, each with the piece its strongest edge goes to.

    A rank counts the response's tokens without its answer, which gathers flow by construction.
    """
    apart = f", {median(trace.hub_spacing):g} tokens apart (median)" if trace.hub_spacing else ""
    title = (
        f"{len(trace.hubs)} hubs where the flow gathers{apart}; ranks among the response's tokens"
    )
    table = Table(title=title, title_justify="left", box=None)
    for heading in ("rank", "position", "token", "throughput", "flows mostly to"):
        table.add_column(heading, justify="left" if heading.startswith(("t", "f")) else "right")
    others = [i for i, role in enumerate(trace.roles) if role == "response"]
    order = sorted(others, key=lambda i: (-trace.throughput[i], i))
    rank = {token: number for number, token in enumerate(order, 1)}
    hubs = [hub for hub in trace.hubs if hub in rank]
    strongest = sorted(hubs, key=lambda token: rank[token])[:MOST_HUBS]
    onward: dict[int, int] = {}
    for edge in trace.edges:  # strongest first
        if trace.roles[edge.target] != "answer":
            onward.setdefault(edge.source, edge.target)
    for token in strongest:
        target = onward.get(token)
        table.add_row(
            str(rank[token]),
            str(token),
            Text(one_line(trace.token_text(token))),
            f"{trace.throughput[token]:.4f}",
            Text("the answer" if target is None else one_line(trace.token_text(target))),
        )
    return table


def show(trace: "Trace", console: Console) -> None:
    """Print text and hubs."""
    console.print(Group(coloured_text(trace), Text(), hub_table(trace)), soft_wrap=False)

"""Edges and routes of a flow as plain numbers. Importing this loads no torch."""

from typing import NamedTuple

BACKBONE_RATIO = 0.4  # section 3.3 of the paper


class Edge(NamedTuple):
    """Flow from one token to a later one, of the one unit that is sent."""

    source: int
    target: int
    flow: float


class Route(NamedTuple):
    """One path from a question token to an answer token."""

    tokens: tuple[int, ...]
    probability: float  # of a walk under W' that starts at the source taking exactly this path

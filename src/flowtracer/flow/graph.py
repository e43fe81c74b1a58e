"""Edges and routes of a flow as plain numbers. Importing this loads no torch."""

from typing import NamedTuple

BACKBONE_RATIO = 0.4  # section 3.3 of the paper


class Edge(NamedTuple):
    """Flow from one token to a later one, of the one unit that is sent."""

    source: int
    target: int
    flow: float


class Route(NamedTuple):
    """A way from the prompt to the answer, by the tokens of the response on it, in order."""

    tokens: tuple[int, ...]  # not those of the prompt in front, nor of the answer behind
    probability: float  # of a walk under W' passing exactly these tokens of the response

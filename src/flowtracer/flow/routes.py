"""The most probable single paths that the flow takes."""

import math
from typing import NamedTuple

import torch

from flowtracer.flow.answer_flow import AnswerFlow


class Route(NamedTuple):
    """One path from a question token to an answer token."""

    tokens: tuple[int, ...]
    probability: float  # of a walk under W' that starts at the source taking exactly this path


def dominant_routes(
    flow: AnswerFlow, question: torch.Tensor, *, count: int = 5, row: int = 0
) -> list[Route]:
    """The `count` most probable prompt-to-answer paths under W', most probable first.

    A walk enters question token q with probability source(q), moves from i to k with probability
    `W'[i, k] = W[i, k] h(k) / h(i)` and leaves at an answer token with the sink's probability
    `sink(i) / h(i)`. Probabilities telescope, so
    `P(path) = source(q) / h(q) * product of W along the path * sink(end)`, and the best `count`
    continuations of every token follow from those of the later ones:
    `best(i) = top over k, rank of log W[i, k] + best(k)[rank]`, together with stopping at i.

    This recursion is sequential by nature: one vector operation per token, T of them, for display
    and not for training. Shapes: question (B, T) bool. Fewer routes come back if fewer exist.

    Raises ValueError for attention that is computed in tiles: routes look at columns of it.
    """
    if not isinstance(flow.attention, torch.Tensor):
        raise ValueError("routes need attention that is held as a whole; shorten the text")
    reach = flow.reach[row]
    relays = flow.relays[row]
    length = len(reach)
    attention = flow.attention[row]
    best = torch.full((length, count), -torch.inf, dtype=reach.dtype)
    link = torch.full((length, count), -1)  # (next token) * count + its rank; -1 ends the route
    stop = flow.sinks[row].log().cpu()
    reachable = (reach > 0).tolist()
    relaying = (relays > 0).tolist()
    for i in reversed(range(length)):
        if not reachable[i]:
            continue
        scores, links = stop[i : i + 1], torch.tensor([-1])
        if relaying[i] and i + 1 < length:
            step = attention[i + 1 :, i].to(reach.dtype).log().cpu()
            onward = (step[:, None] + best[i + 1 :]).flatten()
            top = onward.topk(min(count, len(onward)))
            scores = torch.cat([scores, top.values])
            links = torch.cat([links, top.indices + (i + 1) * count])
        order = scores.topk(min(count, len(scores)))
        best[i, : len(order.values)] = order.values
        link[i, : len(order.values)] = links[order.indices]

    fed = question[row].cpu() & (reach > 0).cpu()
    entry = -reach.log().cpu() - math.log(max(1, int(fed.sum())))
    totals = torch.where(fed, entry, -torch.inf)[:, None] + best
    top = totals.flatten().topk(min(count, totals.numel()))
    return [
        Route(_follow(place, link, count), float(score.exp()))
        for score, place in zip(top.values, top.indices.tolist(), strict=True)
        if score > -torch.inf
    ]


def _follow(place: int, link: torch.Tensor, count: int) -> tuple[int, ...]:
    tokens = []
    while place >= 0:
        token, rank = divmod(place, count)
        tokens.append(token)
        place = int(link[token, rank])
    return tuple(tokens)

"""The most probable single paths that the flow takes."""

import math

import torch

from flowtracer.flow.graph import Route
from flowtracer.flow.solve import BLOCK, rows_of
from flowtracer.flow.targeted import AnswerFlow


def dominant_routes(
    flow: AnswerFlow, question: torch.Tensor, *, count: int = 5, row: int = 0
) -> list[Route]:
    """The `count` most probable prompt-to-answer paths under W', most probable first.

    A walk enters question token q with probability source(q), moves from i to k with probability
    `W'[i, k] = W[i, k] h(k) / h(i)` and leaves at an answer token with the sink's probability
    `sink(k) / h(k)`. Probabilities telescope, so
    `P(path) = source(q) / h(q) * product of W along the path * sink(end)`, and the best `count` ways
    to reach a token follow from those to reach the earlier ones:
    `best(k) = top over i, rank of log W[i, k] + best(i)[rank]`, together with entering at k.

    This recursion is sequential by nature: one vector operation per token, T of them, for display
    and not for training. Rows of attention are read once, so they may be computed in tiles. Shapes:
    question (B, T) bool. Fewer routes are returned if fewer exist.
    """
    reach, sinks, relays = (part[row].cpu() for part in (flow.reach, flow.sinks, flow.relays))
    length = len(reach)
    fed = question[row].cpu() & (reach > 0)
    enters = torch.where(fed, -reach.log() - math.log(max(1, int(fed.sum()))), -torch.inf)
    onward = (relays > 0) & (reach > 0)  # what may stand in the middle of a route
    reachable = (reach > 0).tolist()
    best = torch.full((length, count), -torch.inf, dtype=reach.dtype)
    link = torch.full((length, count), -1)  # (token before) * count + its rank; -1 begins the route
    attention = flow.row(row).attention
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        if not any(reachable[start:stop]):
            continue
        strip = rows_of(attention, start, stop)[0].to(reach.dtype).log().cpu()
        for k in range(start, stop):
            if not reachable[k]:
                continue
            # Tokens that relay nothing, and padding, cannot stand inside a route.
            step = torch.where(onward[:k], strip[k - start, :k], -torch.inf)
            scores, links = enters[k : k + 1], torch.tensor([-1])
            before = (step[:, None] + best[:k]).flatten()
            top = before.topk(min(count, len(before)))
            scores, links = torch.cat([scores, top.values]), torch.cat([links, top.indices])
            order = scores.topk(min(count, len(scores)))
            best[k, : len(order.values)] = order.values
            link[k, : len(order.values)] = links[order.indices]

    totals = best + sinks.log()[:, None]
    top = totals.flatten().topk(min(count, totals.numel()))
    return [
        Route(_follow(end, link, count), float(score.exp()))
        for score, end in zip(top.values, top.indices.tolist(), strict=True)
        if score > -torch.inf
    ]


def _follow(step: int, link: torch.Tensor, count: int) -> tuple[int, ...]:
    """Tokens of the route that ends in `step` (token * count + rank), first to last."""
    tokens = []
    while step >= 0:
        token, rank = divmod(step, count)
        tokens.append(token)
        step = int(link[token, rank])
    return tuple(reversed(tokens))

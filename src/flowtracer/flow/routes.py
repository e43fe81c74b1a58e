"""The most probable ways that the flow takes through the response."""

from typing import NamedTuple

import torch
from torch import Tensor

from flowtracer.flow.graph import Route
from flowtracer.flow.solve import BLOCK, rows_of
from flowtracer.flow.targeted import AnswerFlow


class Routes(NamedTuple):
    """The strongest routes, and how probable it is to pass no, or just one, token of the response."""

    routes: list[Route]  # first those through one token, then longer ones; most probable first
    direct: float  # from the prompt into the answer, one hop
    through_one: float  # two hops


def strongest_routes(flow: AnswerFlow, response: Tensor, *, count: int = 5, row: int = 0) -> Routes:
    """The `count` most probable routes of two hops under W', and as many of more hops.

    A walk moves from i to k with probability `W'[i, k] = W[i, k] h(k) / h(i)`. It is described by the
    response's tokens that it passes before it enters the answer; where it was in the prompt before, and
    which token of the answer it enters, does not matter. Probabilities telescope:
    `P(k1 .. km) = e(k1) * product of W along k1 .. km * x(km)`, with
    `e(k) = sum over prompt tokens i of g(i) W[i, k]` and `x(k) = sum over answer tokens a of W[k, a] h(a)`.
    All routes together and `direct = sum over a of e(a) h(a)` are the whole unit; those through one
    token are `through_one = sum over k of e(k) x(k)`.

    The best ways to a token follow from those to earlier ones:
    `best(k) = top over i, rank of log W[i, k] + best(i)[rank]`, together with entering at k. That is
    sequential by nature: one vector operation for each token of the response, for display and not for
    training. Rows of attention are read once, so they may be computed in tiles.

    Shapes: response (B, T) bool, without the prompt; its answer tokens may be marked or not.
    """
    parts = (flow.reach, flow.passage, flow.sinks, flow.relays)
    reach, passage, sinks, relays = (part[row].cpu() for part in parts)
    answer = sinks > 0
    named = response[row].cpu() & ~answer & (reach > 0)
    sent = torch.where(response[row].cpu() | answer, 0.0, passage * relays)  # by the prompt
    length = len(reach)
    best = torch.full((length, count), -torch.inf, dtype=reach.dtype)
    link = torch.full((length, count), -1)  # (token before) * count + its rank; -1 begins the route
    longer, longer_link = best.clone(), link.clone()  # the same for routes that do not begin here
    entering = torch.zeros_like(reach)
    leaves = torch.zeros_like(reach)  # x
    direct = 0.0
    attention = flow.row(row).attention
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        if not bool((named | answer)[start:stop].any()):
            continue
        strip = rows_of(attention, start, stop)[0].to(reach.dtype).cpu().tril(start - 1)
        enters = strip @ sent[:stop]  # e
        ends = (answer * reach)[start:stop]
        direct += float(enters @ ends)
        leaves[:stop] += ends @ strip
        entering[start:stop] = torch.where(named[start:stop], enters, 0.0)
        logs, first = strip.log(), enters.log()
        for k in (named[start:stop].nonzero()[:, 0] + start).tolist():
            step = torch.where(named[:k], logs[k - start, :k], -torch.inf)
            before = (step[:, None] + best[:k]).flatten()
            top = before.topk(min(count, len(before)))
            longer[k, : len(top.values)] = top.values
            longer_link[k, : len(top.values)] = top.indices
            scores = torch.cat([first[k - start : k - start + 1], top.values])
            links = torch.cat([torch.tensor([-1]), top.indices])
            order = scores.topk(min(count, len(scores)))
            best[k, : len(order.values)] = order.values
            link[k, : len(order.values)] = links[order.indices]

    single = (entering * leaves).topk(min(count, length))
    routes = [Route((int(k),), float(p)) for p, k in zip(*single, strict=True) if p > 0]
    totals = (longer + leaves.log()[:, None]).flatten()
    for score, end in zip(*totals.topk(min(count, totals.numel())), strict=True):
        if score > -torch.inf:
            token, rank = divmod(int(end), count)
            tokens = (*_follow(int(longer_link[token, rank]), link, count), token)
            routes.append(Route(tokens, float(score.exp())))
    return Routes(routes, direct, float(entering @ leaves))


def _follow(step: int, link: Tensor, count: int) -> tuple[int, ...]:
    """Tokens of the route that ends in `step` (token * count + rank), first to last."""
    tokens = []
    while step >= 0:
        token, rank = divmod(step, count)
        tokens.append(token)
        step = int(link[token, rank])
    return tuple(reversed(tokens))

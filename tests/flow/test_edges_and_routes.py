"""Routes, the smallest edge set and the strongest edges against slow references."""

from collections import defaultdict

import pytest
import torch
from helpers.graphs import MODES, masks, paths_by_enumeration, random_attention

from flowtracer import answer_flow
from flowtracer.flow import smallest_edge_set, strongest_edges, strongest_routes


@pytest.mark.parametrize("mode", MODES)
def test_routes_are_the_most_probable_enumerated_ways_through_the_response(mode):
    for seed in range(8):
        attention = random_attention(8, seed, sharpness=3.0)
        q, a = masks(8, (0, 1), (5, 7))
        flow = answer_flow(attention, q, a, answer_tokens=mode)
        slow = defaultdict(float)
        for path, product in paths_by_enumeration(attention[0], q[0], a[0], mode):
            if path[0] in (0, 1):
                entered = next(token for token in path if a[0, token])
                passed = tuple(k for k in path if 2 <= k < entered)
                slow[passed] += product / float(flow.potential[0, path[0]]) / 2
        strongest = strongest_routes(flow, torch.arange(8)[None] >= 2, count=3)
        assert strongest.direct == pytest.approx(slow.pop(()), rel=1e-9)
        short = {way: value for way, value in slow.items() if len(way) == 1}
        long = {way: value for way, value in slow.items() if len(way) > 1}
        assert strongest.through_one == pytest.approx(sum(short.values()), rel=1e-9)
        best = [*sorted(short.values())[::-1][:3], *sorted(long.values())[::-1][:3]]
        assert [r.probability for r in strongest.routes] == pytest.approx(best, rel=1e-9)
        for route in strongest.routes:
            assert slow[route.tokens] == pytest.approx(route.probability, rel=1e-9)


def test_all_routes_together_are_the_whole_unit():
    attention = random_attention(6, 3)
    q, a = masks(6, (0, 1), (5,))
    strongest = strongest_routes(
        answer_flow(attention, q, a), torch.arange(6)[None] >= 2, count=100
    )
    assert strongest.direct + sum(r.probability for r in strongest.routes) == pytest.approx(1.0)
    assert len({r.tokens for r in strongest.routes}) == len(strongest.routes) == 7


def test_edges_of_strips_are_the_rows_of_all_edges():
    attention = random_attention(50, 9)
    q, a = masks(50, range(5), [48, 49])
    for mode in MODES:
        flow = answer_flow(attention, q, a, answer_tokens=mode)
        strips = torch.cat([flow.edges_into(s, min(s + 7, 50)) for s in range(0, 50, 7)], dim=1)
        assert torch.equal(strips.transpose(1, 2), flow.edges())


@pytest.mark.parametrize("ratio", [0.05, 0.5, 0.9, 1.0])
def test_smallest_edge_set_is_a_prefix_of_the_sorted_edges(ratio):
    attention = random_attention(70, 4, batch=2, sharpness=3.0)
    q, a = (mask.expand(2, -1) for mask in masks(70, range(9), range(60, 64)))
    flow = answer_flow(attention, q, a)
    values = flow.edges()[1].flatten().sort(descending=True).values
    values = values[values > 0]
    needed = int((values.cumsum(0) >= ratio * values.sum() * (1 - 1e-12)).int().argmax()) + 1
    edges = smallest_edge_set(flow, ratio=ratio, row=1, strip_edges=16 * 70)
    assert [e.flow for e in edges] == pytest.approx(values[:needed].tolist(), rel=1e-12)
    for edge in edges:
        assert flow.edges()[1, edge.source, edge.target] == edge.flow
    assert smallest_edge_set(flow, ratio=ratio, row=1, limit=3) == edges[:3]


def test_strongest_edges_hold_the_best_of_every_token():
    attention = random_attention(70, 4, sharpness=3.0)
    q, a = masks(70, range(9), range(60, 64))
    flow = answer_flow(attention, q, a)
    edges = flow.edges()[0]
    slow = set()
    for token in range(70):
        into = [(float(v), int(i)) for i, v in enumerate(edges[:, token]) if v > 0]
        out = [(float(v), int(k)) for k, v in enumerate(edges[token]) if v > 0]
        slow |= {(i, token, v) for v, i in sorted(into, reverse=True)[:3]}
        slow |= {(token, k, v) for v, k in sorted(out, reverse=True)[:3]}
        onward = [(v, k) for v, k in out if not a[0, k]]
        slow |= {(token, k, v) for v, k in sorted(onward, reverse=True)[:1]}
    assert {tuple(edge) for edge in strongest_edges(flow, per_token=3, strip_edges=16 * 70)} == slow

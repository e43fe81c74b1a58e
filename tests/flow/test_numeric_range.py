"""Attention far from normalised: flow is right, or refused in one sentence; never NaN in silence."""

import math
from collections import Counter

import pytest
import torch
from helpers.graphs import MODES, exact_flow, masks, random_attention

from flowtracer import answer_flow
from flowtracer.flow import send_flow

GRAPHS = 10_000
TINY = torch.finfo(torch.float64).tiny  # influence below it counts as none


def odd_graph(seed):
    """A small graph with attention of any size, (attention, question, answer, mode)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    length = draw(2, 8)
    dtype = (torch.float32, torch.float64)[draw(0, 2)]
    attention = random_attention(length, seed, sharpness=4.0)
    if draw(0, 4):  # a quarter stays normalised
        reach = (3, 38, 300 if dtype == torch.float64 else 38)[draw(0, 3)]
        powers = (
            2 * torch.rand(1, length, length, generator=generator, dtype=torch.float64) - 1
        ) * reach
        attention = attention * 10.0**powers
        attention = attention.clamp(max=torch.finfo(dtype).max)
    attention[torch.rand(attention.shape, generator=generator) < 0.2] = 0.0
    prompt = draw(1, length)
    question = (torch.arange(length) < prompt)[None]
    answer = (torch.rand(1, length, generator=generator) < 0.4) & ~question
    answer[0, -1] = True
    if draw(0, 5) == 0:
        answer = answer.double() * 10.0 ** draw(-300, 309)
    return attention.to(dtype), question, answer, MODES[draw(0, 2)]


def outcome(seed):
    """What became of one graph: "equal to the oracle" or the kind of refusal; fails otherwise."""
    attention, question, answer, mode = odd_graph(seed)
    exact = exact_flow(attention[0], question[0], answer[0], mode, least=TINY)
    trained = send_flow(attention, question, answer, answer_tokens=mode)
    for values in (trained.potential, trained.inflow, trained.throughput, trained.edges()):
        assert bool(torch.isfinite(values).all()), seed
    try:
        flow = answer_flow(attention, question, answer, answer_tokens=mode)
    except ValueError as error:
        assert "\n" not in str(error) and str(error).startswith("row 0: "), seed
        if "no question token can reach" in str(error):
            assert exact is None, seed
            return "refused: unreachable"
        assert "leaves the range" in str(error), seed
        return "refused: out of range"
    potential, inflow = exact
    edges = flow.edges().double()
    assert bool(torch.isfinite(edges).all()), seed
    arrived = flow.passage * flow.sinks
    assert float(arrived.sum()) == pytest.approx(1, abs=1e-6), seed
    sent = edges.sum(2) + arrived
    torch.testing.assert_close(sent[0], flow.inflow[0].double(), rtol=1e-5, atol=1e-6)
    tolerance = 1e-5 if attention.dtype == torch.float32 else 1e-9
    for ours, slow in zip(flow.inflow[0].tolist(), inflow, strict=True):
        assert ours == pytest.approx(float(slow), rel=tolerance, abs=1e-6), seed
    for ours, slow in zip(flow.reach[0].tolist(), potential, strict=True):
        assert math.isclose(ours, float(slow), rel_tol=1e-9, abs_tol=1e-307), seed
    return "equal to the oracle"


def test_odd_graphs_are_right_or_refused():
    assert set(Counter(map(outcome, range(300)))) >= {
        "equal to the oracle",
        "refused: out of range",
    }


@pytest.mark.slow
def test_ten_thousand_odd_graphs_are_right_or_refused(bar):
    counts = Counter(map(outcome, range(GRAPHS)))
    for name, count in counts.items():
        bar("random graphs", count, name)
    assert sum(counts.values()) == GRAPHS


def test_an_answer_weight_that_overflows_is_refused():
    attention = random_attention(6, 0)
    q, a = masks(6, [0, 1], [4, 5])
    with pytest.raises(ValueError, match=r"row 0: influence.*scale attention.*answer weights"):
        answer_flow(attention, q, a.double() * 1.7e308, answer_tokens="relay")


def test_the_row_out_of_range_is_named_and_only_it_has_no_flow_in_training():
    attention = random_attention(6, 0, batch=2).float()
    attention[1] = attention[1] * 1e38
    q, a = (mask.expand(2, -1) for mask in masks(6, [0, 1], [5]))
    with pytest.raises(ValueError, match=r"row 1: influence.*or pass float64"):
        answer_flow(attention, q, a)
    flow = send_flow(attention, q, a)
    alone = answer_flow(attention[:1], q[:1], a[:1])
    assert torch.equal(flow.throughput[0], alone.throughput[0])
    assert not bool(flow.throughput[1].any() | flow.edges()[1].any())


def test_huge_attention_among_tokens_that_cannot_reach_the_answer_changes_nothing():
    attention = random_attention(8, 3)
    q, a = masks(8, [0, 1], [5])
    expected = answer_flow(attention, q, a)
    attention[0, 6:] = 1e300
    assert torch.equal(answer_flow(attention, q, a).inflow, expected.inflow)
    assert torch.equal(answer_flow(attention, q, a).edges(), expected.edges())

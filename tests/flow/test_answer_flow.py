"""answer_flow against a slow oracle that enumerates every path, and its invariants at any size."""

import pytest
import torch
from helpers.graphs import MODES, flow_by_enumeration, masks, random_attention
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowtracer import answer_flow


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", range(2, 9))
def test_flow_equals_the_sum_over_enumerated_paths(length, mode):
    for seed in range(12):
        attention = random_attention(length, seed, sharpness=2.0)
        generator = torch.Generator().manual_seed(seed)
        attention[torch.rand(attention.shape, generator=generator) < 0.3] = 0.0
        answers = range(length - 1 - seed % min(3, length - 1), length)
        q, a = masks(length, range(max(1, length // 3)), answers)
        potential, inflow, edges = flow_by_enumeration(attention[0], q[0], a[0], mode)
        if not any(potential[q[0]] > 0):
            with pytest.raises(ValueError, match="row 0: no question token can reach"):
                answer_flow(attention, q, a, answer_tokens=mode)
            continue
        flow = answer_flow(attention, q, a, answer_tokens=mode)
        torch.testing.assert_close(flow.potential[0], potential, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(flow.inflow[0], inflow, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(flow.edges()[0], edges, rtol=1e-12, atol=1e-15)


def check_invariants(attention, q, a, mode, tolerance):
    """Every invariant of the definition; relative to the unit of flow."""
    flow = answer_flow(attention, q, a, answer_tokens=mode)
    # `reach` is the potential in float64: in float32 tiny values are denormal or 0.
    h, f, edges = flow.reach, flow.inflow.double(), flow.edges().double()
    torch.testing.assert_close(flow.potential, h.to(attention.dtype), rtol=0, atol=0)
    w = attention.double().tril(-1).transpose(1, 2)  # W[i, k]
    if mode == "absorb":
        w = w * ~a[:, :, None]
    reachable = h > 0
    assert bool((h >= 0).all() and torch.isfinite(h).all() and torch.isfinite(f).all())
    # Theorem 3.1: rows of W' sum to 1 outside the answer; the sink takes 1 / h inside.
    reweighted = w * h[:, None, :] / torch.where(reachable, h, 1.0)[:, :, None]
    sink = torch.where(reachable, a / torch.where(reachable, h, 1.0), 0.0)
    rows = (reweighted.sum(2) + sink)[reachable]
    assert float((rows - 1).abs().max()) < tolerance
    # The unit arrives, and what enters a token leaves it.
    arrived = f * sink
    assert float((arrived.sum(1) - 1).abs().max()) < tolerance
    fed = q & reachable
    source = fed.double() / fed.sum(1, keepdim=True)
    assert float((edges.sum(1) + source - f).abs().max()) < tolerance
    assert float((edges.sum(2) + arrived - f).abs().max()) < tolerance
    torch.testing.assert_close(flow.throughput.double(), 2 * f, rtol=1e-6, atol=1e-30)
    if mode == "absorb":
        assert float((f * a).sum(1).sub(1).abs().max()) < tolerance
        assert bool((h <= a.sum(1, keepdim=True) * (1 + tolerance)).all())
        assert bool((f <= 1 + tolerance).all())
    # The first token is fed by nothing but its own share of the source.
    torch.testing.assert_close(f[:, 0], source[:, 0], rtol=tolerance, atol=1e-30)
    # Nothing outside the part that reaches the answer carries anything.
    assert bool((f[~reachable] == 0).all())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    length=st.integers(2, 90) | st.sampled_from([255, 257, 700, 2048]),
    batch=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    sharpness=st.sampled_from([0.0, 1.0, 8.0, 40.0]),
    faint=st.sampled_from([1.0, 1e-12, 1e-30]),
    dropped=st.sampled_from([0.0, 0.5, 0.95]),
    mode=st.sampled_from(MODES),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    data=st.data(),
)
def test_invariants_hold_on_random_graphs(
    length, batch, seed, sharpness, faint, dropped, mode, dtype, data
):
    attention = random_attention(length, seed, batch=batch, sharpness=sharpness)
    generator = torch.Generator().manual_seed(seed + 1)
    attention[torch.rand(attention.shape, generator=generator) < dropped] = 0.0
    attention[torch.rand(attention.shape, generator=generator) < 0.3] *= faint
    attention = attention.to(dtype)
    prompt = data.draw(st.integers(1, length - 1))
    q = (torch.arange(length) < prompt).expand(batch, -1).clone()
    a = (torch.rand(batch, length, generator=generator) < 0.2) & ~q
    a[:, -1] = True
    tolerance = 1e-5 if dtype == torch.float32 else 1e-9
    try:
        check_invariants(attention, q, a, mode, tolerance)
    except ValueError as error:  # sparse graphs may leave the answer unreachable
        assert "can reach the answer" in str(error) or "leaves the range" in str(error)
        assert dropped > 0 or faint < 1 or sharpness == 40.0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sharpness", [0.0, 6.0])
def test_invariants_hold_at_2048_tokens(mode, dtype, sharpness):
    length = 2048
    attention = random_attention(length, 7, sharpness=sharpness).to(dtype)
    q, a = masks(length, range(300), range(2030, 2038))
    check_invariants(attention, q, a, mode, 1e-5 if dtype == torch.float32 else 1e-9)


def test_float32_agrees_with_float64():
    attention = random_attention(700, 1, sharpness=4.0)
    q, a = masks(700, range(90), range(690, 699))
    exact = answer_flow(attention, q, a).throughput
    single = answer_flow(attention.float(), q, a).throughput
    torch.testing.assert_close(single.double(), exact, rtol=2e-5, atol=1e-12)


def test_influence_far_below_float32_is_still_followed():
    """A chain of forty hops of 1e-6 each: the potential is 1e-240, the flow is exactly the unit."""
    length = 41
    attention = torch.zeros(1, length, length, dtype=torch.float32)
    attention[0, range(1, length), range(length - 1)] = 1e-6
    q, a = masks(length, [0], [length - 1])
    flow = answer_flow(attention, q, a)
    torch.testing.assert_close(flow.inflow, torch.ones(1, length), rtol=1e-5, atol=0)


def test_batch_mates_padding_side_and_tail_change_nothing():
    length = 60
    attention = random_attention(length, 5, sharpness=3.0)
    q, a = masks(length, range(10), range(40, 44))
    alone = answer_flow(attention, q, a).throughput[0]
    other = random_attention(length, 6)
    together = answer_flow(
        torch.cat([other, attention]), torch.cat([q, q]), torch.cat([a, a])
    ).throughput[1]
    assert torch.equal(alone, together)
    cut = answer_flow(attention[:, :44, :44], q[:, :44], a[:, :44]).throughput[0]
    torch.testing.assert_close(alone[:44], cut, rtol=1e-12, atol=0)
    assert bool((alone[44:] == 0).all())
    for left, right in ((7, 0), (0, 7), (3, 4)):
        pad = torch.nn.functional.pad
        padded = answer_flow(
            pad(attention, (left, right, left, right)), pad(q, (left, right)), pad(a, (left, right))
        ).throughput[0]
        torch.testing.assert_close(padded[left : left + length], alone, rtol=1e-12, atol=0)
        assert bool((padded[:left] == 0).all() and (padded[left + length :] == 0).all())


def test_what_lies_on_or_above_the_diagonal_is_ignored():
    attention = random_attention(20, 2)
    q, a = masks(20, range(5), [19])
    noisy = attention + torch.rand(20, 20, dtype=torch.float64).triu(0)
    assert torch.equal(answer_flow(attention, q, a).inflow, answer_flow(noisy, q, a).inflow)


def test_a_question_token_that_cannot_reach_the_answer_gives_its_share_to_the_rest():
    attention = torch.zeros(1, 4, 4)
    attention[0, 3, 1] = 0.5
    attention[0, 3, 2] = 0.25
    q, a = masks(4, [0, 1, 2], [3])
    flow = answer_flow(attention, q, a)
    assert flow.inflow[0].tolist() == pytest.approx([0, 0.5, 0.5, 1.0])


def test_answer_weights_divide_the_flow():
    attention = torch.zeros(1, 3, 3)
    attention[0, 1, 0] = 0.5
    attention[0, 2, 0] = 0.5
    q, _ = masks(3, [0], [2])
    flow = answer_flow(attention, q, torch.tensor([[0.0, 3.0, 1.0]]))
    assert flow.inflow[0].tolist() == pytest.approx([1.0, 0.75, 0.25])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, q, a: (t[0], q, a), r"attention has shape \(6, 6\).*attention\[None\]"),
        (lambda t, q, a: (t.half(), q, a), r"attention is torch.float16; convert"),
        (lambda t, q, a: (t, q[:, :5], a), r"question has shape \(1, 5\)"),
        (lambda t, q, a: (t, q, a[:, :5]), r"answer has shape \(1, 5\)"),
        (lambda t, q, a: (t, q.float(), a), r"question is torch.float32; it must be bool"),
        (lambda t, q, a: (t, q, a.float() * -1), r"answer has negative"),
        (lambda t, q, a: (t, q & False, a), r"row 0: no question token"),
        (lambda t, q, a: (t, q, a & False), r"row 0: no answer token"),
        (lambda t, q, a: (t * float("nan"), q, a), r"row 0: attention has NaN"),
        (lambda t, q, a: (t / 0.0, q, a), r"row 0: attention has NaN or infinite"),
        (lambda t, q, a: (-t, q, a), r"row 0: attention has negative values.*not logits"),
        (lambda t, q, a: (t * 0, q, a), r"row 0: no question token can reach the answer"),
        (lambda t, q, a: (t, a, q), r"row 0: no question token can reach the answer"),
    ],
)
def test_bad_input_is_refused_with_row_and_remedy(change, message):
    q, a = masks(6, [0, 1], [5])
    with pytest.raises(ValueError, match=message):
        answer_flow(*change(random_attention(6, 0), q, a))


def test_the_row_that_is_wrong_is_named():
    attention = random_attention(6, 0, batch=3).clone()
    q, a = (mask.repeat(3, 1) for mask in masks(6, [0, 1], [5]))
    attention[2, 4, 1] = float("inf")
    with pytest.raises(ValueError, match="row 2"):
        answer_flow(attention, q, a)
    with pytest.raises(ValueError, match="answer_tokens is 'both'"):
        answer_flow(attention, q, a, answer_tokens="both")

"""Both solves in one kernel, in Triton's interpreter, against those of PyTorch."""

import pytest
import torch
from helpers.graphs import random_attention
from helpers.kernels import interpreted

from flowtracer.flow import send_flow
from flowtracer.kernels.availability import kernels_everywhere
from flowtracer.kernels.solve import solve_flow, worth_it

pytestmark = interpreted


def graphs(length, count=3):
    attention = random_attention(length, 0, batch=count)
    position = torch.arange(length).expand(count, -1)
    question = position < length // 4
    answer = (position >= length - 9).float() * (1 + position % 3)
    answer[:, -3:] = 0
    return attention.float(), question, answer


@pytest.mark.parametrize("answer_tokens", ["absorb", "relay"])
@pytest.mark.parametrize("length", [20, 131, 200])
def test_the_flow_is_that_of_pytorch(length, answer_tokens):
    attention, question, answer = graphs(length)
    expected = send_flow(attention, question, answer, answer_tokens=answer_tokens)
    with kernels_everywhere():
        flow = send_flow(attention, question, answer, answer_tokens=answer_tokens)
    for name in ("reach", "passage"):
        torch.testing.assert_close(
            getattr(flow, name), getattr(expected, name), rtol=1e-12, atol=0.0
        )


def test_a_row_without_an_answer_has_no_flow():
    attention, question, answer = graphs(40)
    answer[1] = 0
    with kernels_everywhere():
        flow = send_flow(attention, question, answer)
    assert flow.throughput[1].abs().max() == 0
    assert flow.throughput[0].max() > 0


def test_part_of_a_batch_is_read_where_it_stands():
    attention, question, answer = graphs(50)
    sink = answer.double()
    relays = (sink == 0).double()
    every = torch.zeros(3, 80, 80)
    every[:, :50, :50] = attention
    whole = solve_flow(attention, question, sink, relays)
    part = solve_flow(every[:, :50, :50], question, sink, relays)
    for expected, other in zip(whole, part, strict=True):
        assert torch.equal(expected, other)


def test_few_long_texts_are_left_to_pytorch():
    assert worth_it(64, 8192) and worth_it(1, 512)
    assert not worth_it(1, 8192)

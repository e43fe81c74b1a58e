"""Alignment's equations against their definitions, written as loops."""

import numpy as np
import pytest
import torch

from flowtracer.gradients.alignment import (
    cosines,
    gram,
    others,
    sign_cosines,
    signal,
    signal_to_noise,
)
from flowtracer.gradients.objective import (
    group_normalised,
    grpo_coefficients,
    leave_one_out,
    reward_coefficients,
)

GENERATOR = torch.Generator().manual_seed(0)


def test_the_reference_of_a_batch_holds_nothing_of_it():
    gradients = torch.randn(5, 7, generator=GENERATOR)
    for number, reference in enumerate(others(gradients)):
        rest = [gradients[other] for other in range(5) if other != number]
        torch.testing.assert_close(reference, torch.stack(rest).sum(0))


def test_cosines_are_those_of_each_pair():
    a, b = torch.randn(4, 9, generator=GENERATOR), torch.randn(4, 9, generator=GENERATOR)
    expected = [float(torch.cosine_similarity(x, y, dim=0)) for x, y in zip(a, b, strict=True)]
    assert cosines(a, b).tolist() == pytest.approx(expected, abs=1e-6)
    signs = [
        float((x.sign() * y.sign()).mean()) for x, y in zip(a, b, strict=True)
    ]  # no coordinate is 0
    assert sign_cosines(a, b).tolist() == pytest.approx(signs, abs=1e-6)


def test_a_gradient_of_zero_has_cosine_zero():
    assert cosines(torch.zeros(1, 3), torch.ones(1, 3)).tolist() == [0.0]


def test_signal_to_noise_is_found_back_without_bias():
    """Gradients with a known mean and covariance, few batches, many draws."""
    mean = torch.randn(20, generator=GENERATOR)
    expected = float(mean @ mean) / (20 * 4.0)
    estimates = []
    for _ in range(600):
        gradients = mean + 2 * torch.randn(6, 20, generator=GENERATOR)
        estimates.append(float(signal(gram(gradients))) / (20 * 4.0))
    assert np.mean(estimates) == pytest.approx(expected, rel=0.1)
    assert signal_to_noise(gram(mean + torch.randn(400, 20, generator=GENERATOR) * 2)) == (
        pytest.approx(expected, rel=0.25)
    )


def test_advantages_are_those_of_each_group():
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.5])
    groups = torch.tensor([7, 7, 7, 2, 2, 9])
    normalised, unbiased = group_normalised(rewards, groups), leave_one_out(rewards, groups)
    first = rewards[:3]
    torch.testing.assert_close(
        normalised[:3], (first - first.mean()) / (first.std() + 1e-4), rtol=1e-5, atol=1e-6
    )
    assert normalised[3:].tolist() == [0.0, 0.0, 0.0]
    assert unbiased.tolist() == pytest.approx([1.0, -0.5, -0.5, 0.0, 0.0, 0.0])


def test_coefficients_are_those_of_equation_5():
    advantages = torch.tensor([2.0, -1.0])
    weights = torch.tensor([[1.5, 1.0, 1.0], [1.0, 1.5, 1.0]])
    candidates = torch.tensor([[True, True, False], [True, True, True]])
    expected = [[1.5 * 2 / 4, 2 / 4, 0.0], [-1 / 6, -1.5 / 6, -1 / 6]]
    for row, values in zip(
        grpo_coefficients(advantages, weights, candidates), expected, strict=True
    ):
        assert row.tolist() == pytest.approx(values)
    assert reward_coefficients(advantages, candidates).tolist() == [[1.0, 1.0, 0.0], [-0.5] * 3]

"""Intervals of rates, differences and training runs: they hold the truth, and none is a point."""

from math import comb

import numpy as np
import pytest

from flowtracer.statistics.intervals import (
    bootstrap,
    difference_interval,
    mean_accuracy,
    paired_p,
    pass_at,
    rate_interval,
    ratio_of_sums,
    runs_interval,
    wilson,
)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_pass_at_k_is_the_chance_of_a_right_one_among_k(k):
    rewards = (np.random.default_rng(0).random((40, 5)) < 0.4).astype(float)
    expected = [1 - comb(5 - int(c), k) / comb(5, k) for c in rewards.sum(1)]
    assert pass_at(rewards, k).value == pytest.approx(np.mean(expected))
    with pytest.raises(ValueError, match="pass@6 needs at least 6 samples"):
        pass_at(rewards, 6)


def test_intervals_hold_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(100):
        rewards = (generator.random((200, 1)) < 0.3).astype(float)
        interval = mean_accuracy(rewards, seed=2)
        inside += interval.low <= 0.3 <= interval.high
        assert interval.low <= interval.value <= interval.high
    assert 88 <= inside <= 100


def test_pairing_narrows_the_interval():
    generator = np.random.default_rng(3)
    hard = generator.random((300, 1))
    a = (hard < 0.6).astype(float)
    b = (hard < 0.5).astype(float)
    paired = bootstrap(a.mean(1) - b.mean(1))
    assert paired.value == pytest.approx(a.mean() - b.mean())
    assert paired.high - paired.low < mean_accuracy(a).high - mean_accuracy(a).low


@pytest.mark.parametrize(
    ("right", "low", "high"), [(0, 0, 0.0188), (1, 0.0009, 0.0278), (200, 0.9812, 1)]
)
def test_a_single_rate_has_wilsons_interval(right, low, high):
    """By hand: 0 of n reaches up to z^2 / (n + z^2)."""
    interval = rate_interval(np.array([1.0] * right + [0.0] * (200 - right)))
    assert interval.value == right / 200
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=2e-4)


def test_nothing_right_in_several_samples_has_a_width():
    wrong = np.zeros((200, 4))
    assert mean_accuracy(wrong).high == pytest.approx(0.0188, abs=1e-4)
    assert pass_at(wrong, 4).high == pytest.approx(0.0188, abs=1e-4)


def test_tokens_that_are_never_or_always_high_have_a_width():
    never, always = np.tile([[3.0, 0.0]], (30, 1)), np.tile([[3.0, 3.0]], (30, 1))
    assert ratio_of_sums(never) == wilson(0.0, 30) and ratio_of_sums(never).high > 0.1
    assert ratio_of_sums(always) == wilson(1.0, 30) and ratio_of_sums(always).low < 0.9


def test_pairs_that_never_differ_may_differ_in_others():
    interval = difference_interval(np.zeros(200))
    assert interval.value == 0 and -0.02 < interval.low < -0.01 and 0.01 < interval.high < 0.02


def test_paired_differences_of_rates_hold_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(4)
    inside = 0
    for _ in range(400):
        pairs = generator.choice([-1.0, 0.0, 1.0], 60, p=[0.02, 0.9, 0.08])
        interval = difference_interval(pairs)
        inside += interval.low <= 0.06 <= interval.high
    assert 0.92 <= inside / 400 <= 1


@pytest.mark.parametrize(
    ("t", "freedom", "expected"),
    [(12.706, 1, 0.05), (2.3646, 7, 0.05), (3.4995, 7, 0.01), (4.6041, 4, 0.01), (0.0, 5, 1.0)],
)
def test_p_of_paired_differences_is_students(t, freedom, expected):
    """Out of printed tables: values of spread 1 about the mean that gives this t."""
    values = np.linspace(-1, 1, freedom + 1)
    values = values / values.std(ddof=1) + t / np.sqrt(freedom + 1)
    assert paired_p(values.tolist()) == pytest.approx(expected, rel=2e-3)
    assert paired_p((-values).tolist()) == pytest.approx(expected, rel=2e-3)


def test_p_of_what_does_not_vary():
    assert paired_p([0.0, 0.0]) == 1.0 and paired_p([0.3]) == 1.0 and paired_p([0.2, 0.2]) == 0.0


@pytest.mark.parametrize("runs", [2, 3, 5])
@pytest.mark.parametrize("between_runs", [0.01, 0.04, 0.08])
def test_few_runs_hold_the_truth_about_95_times_in_100(runs, between_runs):
    generator = np.random.default_rng(5)
    inside = 0
    for _ in range(300):
        problems = generator.uniform(0.35, 0.85, 400)
        chance = problems + generator.normal(0, between_runs, (runs, 1))
        interval = runs_interval((generator.random((runs, 400)) < chance).astype(float))
        inside += interval.low <= 0.6 <= interval.high
    assert inside / 300 >= 0.92


def test_differences_between_runs_widen_the_interval():
    problems = (np.arange(400) % 2).astype(float)
    same = runs_interval(np.stack([problems] * 3))
    changes = np.zeros((3, 400))
    changes[0, :80], changes[2, 80:160] = -0.5, 0.5
    apart = runs_interval(problems + changes)
    assert apart.value == pytest.approx(0.5) and apart.high - apart.low > same.high - same.low


def test_one_run_has_the_interval_of_its_problems():
    problems = (np.arange(200) < 90).astype(float)
    assert runs_interval(problems[None]) == rate_interval(problems)
    assert runs_interval(np.zeros((3, 200))) == rate_interval(np.zeros(200))


def test_nothing_evaluated_is_an_error():
    with pytest.raises(ValueError, match="no problem was evaluated"):
        bootstrap(np.zeros(0))

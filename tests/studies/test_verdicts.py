"""A verdict must not read signal out of noise, and must see what is there."""

from itertools import product

import numpy as np
import pytest

from flowtracer.studies.verdicts import holm, in_words, judge, sign_flip_p, units_needed


def test_the_sign_flip_test_agrees_with_all_flips():
    values = np.random.default_rng(1).normal(0.4, 1, 10)
    flips = np.array([abs(np.array(signs) @ values) for signs in product((-1, 1), repeat=10)])
    exact = (flips >= abs(values.sum()) - 1e-12).mean()
    assert sign_flip_p(values) == pytest.approx(exact, abs=0.01)


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_noise_is_rarely_called_a_difference():
    """60 families of 10 rules that differ in nothing: a false verdict in about 5% of them."""
    generator = np.random.default_rng(0)
    wrong = 0
    for trial in range(60):
        p_values = [sign_flip_p(generator.normal(0, 1, 20), seed=trial) for _ in range(10)]
        wrong += min(holm(p_values)) < 0.05
    assert wrong <= 8


def test_a_clear_difference_is_called_by_its_direction():
    generator = np.random.default_rng(0)
    verdicts = judge(
        {
            "up": generator.normal(1, 1, 60),
            "down": generator.normal(-1, 1, 60),
            "same": generator.normal(0, 1, 60),
        }
    )
    assert [verdict.word for verdict in verdicts] == ["better", "worse", "undecided"]
    text = in_words(verdicts, baseline="uniform", units="batches", count=60)
    assert "Better than uniform: up (" in text and "Worse than uniform: down (" in text
    assert "Undecided with 60 batches: same" in text


def test_no_rule_is_recommended_out_of_noise():
    verdicts = judge({"a": np.random.default_rng(3).normal(0, 1, 30)})
    text = in_words(verdicts, baseline="uniform", units="batches", count=30)
    assert "No rule is recommended over uniform." in text


def test_as_many_units_as_asked_for_would_tell():
    """Of samples with the number of units that it names, about 80% are significant."""
    generator = np.random.default_rng(0)
    first = generator.normal(0.3, 1, 400)
    needed = units_needed(first)
    assert needed == pytest.approx(((1.96 + 0.84) / first.mean() * first.std()) ** 2, rel=0.05)
    told = [
        sign_flip_p(generator.normal(first.mean(), first.std(), needed)) < 0.05 for _ in range(40)
    ]
    assert 0.6 < np.mean(told) < 0.97


def test_one_unit_is_refused():
    with pytest.raises(ValueError, match="1 unit is too few"):
        judge({"a": np.zeros(1)})

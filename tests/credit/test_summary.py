"""The figures that are logged of a batch's credit."""

import pytest
import torch

from flowtracer.credit.credit import Credit, credit_of_scores
from flowtracer.credit.summary import (
    COUNTED,
    credit_metrics,
    credit_sums,
    effective_ratio,
    gini,
)
from flowtracer.scorers.batch import ScoreBatch

GENERATOR = torch.Generator().manual_seed(0)


def test_gini_and_effective_ratio_of_known_weights():
    weights = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 4.0], [1.0, 3.0, 9.0, 9.0]])
    inside = torch.tensor([[True] * 4, [True] * 4, [True, True, False, False]])
    assert gini(weights, inside).tolist() == pytest.approx([0.0, 0.75, 0.25])
    assert effective_ratio(weights, inside).tolist() == pytest.approx([1.0, 0.25, 16 / 20])


def test_gini_is_the_mean_absolute_difference():
    weights = torch.rand(1, 13, generator=GENERATOR)
    pairs = (weights[0][:, None] - weights[0][None]).abs().mean()
    expected = float(pairs / (2 * weights.mean()))
    assert gini(weights, torch.ones(1, 13, dtype=torch.bool)).item() == pytest.approx(expected)


def test_spread_is_the_mean_over_scored_responses():
    """Two tokens of five at 1.5; the second response has no answer and does not count."""
    ids = torch.ones(2, 7, dtype=torch.long)
    column = torch.arange(7)
    batch = ScoreBatch(
        ids,
        torch.ones_like(ids),
        (column < 2).expand(2, 7),
        (column >= 2).expand(2, 7),
        torch.tensor([[0.0] * 6 + [1.0], [0.0] * 7]),
    )
    scores = torch.tensor([[0.0, 0, 1, 5, 4, 2, 3]] * 2)
    credit = credit_of_scores(scores, batch, Credit())
    sums = credit_sums(batch, credit, torch.tensor([True, True]))
    assert sums.shape == (2, len(COUNTED))
    metrics = credit_metrics(sums.sum(0))
    weights = torch.tensor([[1.0, 1.5, 1.5, 1.0, 1.0]])
    inside = torch.ones(1, 5, dtype=torch.bool)
    assert metrics["gini"] == pytest.approx(gini(weights, inside).item())
    assert metrics["effective_tokens"] == pytest.approx(36 / (5 * 7.5))
    assert metrics["responses"] == 1 and metrics["no_answer"] == 0.5

"""The controls that ask the model nothing."""

from dataclasses import replace

import pytest
import torch
from helpers.models import texts
from helpers.scores import batch_of

from flowtracer.scorers import ScoreOptions, score_tokens


def test_controls(model):
    ids, mask = texts("both")
    batch = batch_of(ids, mask)
    scores = score_tokens(model, batch, ["random", "position", "delimiters"])
    for row in range(3):
        inside = batch.candidates[row]
        count = int(inside.sum())
        assert scores["position"][row, inside].tolist() == list(range(1, count + 1))
        expected = [float(token % 3 == 0) for token in ids[row, inside].tolist()]
        assert scores["delimiters"][row, inside].tolist() == expected
        drawn = scores["random"][row, mask[row] > 0]
        assert float(drawn.min()) > 0 and float(drawn.max()) <= 1
        assert len(set(drawn.tolist())) == len(drawn)
    again = score_tokens(model, batch, ["random"])["random"]
    other = score_tokens(model, batch, ["random"], options=ScoreOptions(seed=1))["random"]
    assert torch.equal(again, scores["random"])
    assert not torch.equal(other, again)


def test_random_scores_are_spread_over_the_interval(model):
    ids = torch.randint(3, 97, (8, 500), generator=torch.Generator().manual_seed(0))
    drawn = score_tokens(model, batch_of(ids), ["random"])["random"]
    assert abs(float(drawn.mean()) - 0.5) < 0.02
    assert abs(float(drawn.var()) - 1 / 12) < 0.005


def test_delimiters_have_to_be_known(model):
    batch = replace(batch_of(texts("none")[0]), structural=None)
    with pytest.raises(ValueError, match="'delimiters' needs to know"):
        score_tokens(model, batch, ["delimiters"])
    assert batch.take(torch.tensor([0])).structural is None

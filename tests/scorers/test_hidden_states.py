"""Scores from hidden states against loops over them."""

import pytest
import torch
from helpers.models import random_model, texts
from helpers.scores import batch_of

from flowtracer.scorers import score_tokens
from flowtracer.scorers.hidden_states import mutual_similarity


def test_correlation(model):
    ids, mask = texts("both")
    batch = batch_of(ids, mask)
    scores = score_tokens(model, batch, ["correlation"])["correlation"]
    for row in range(3):
        real = mask[row] > 0
        with torch.no_grad():
            kept = model(input_ids=ids[row, real][None], output_hidden_states=True).hidden_states
        states = kept[6 // 2 + 1][0]  # the first is the embedding
        inside = batch.candidates[row, real].nonzero()[:, 0].tolist()
        got = scores[row, real]
        for t in inside:
            others = [
                abs(float(torch.cosine_similarity(states[t], states[s], dim=0)))
                for s in inside
                if s != t
            ]
            assert float(got[t]) == pytest.approx(sum(others) / len(others), rel=1e-3)


@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
def test_aligned(name):
    model = random_model(name)
    ids, mask = texts("both")
    batch = batch_of(ids, mask)
    scores = score_tokens(model, batch, ["aligned"])["aligned"]
    for row in range(3):
        real, inside = mask[row] > 0, batch.candidates[row]
        with torch.no_grad():
            states = model.model(input_ids=ids[row, real][None]).last_hidden_state[0]
            mean = states[batch.candidates[row, real]].mean(0)
            logits = model.lm_head(mean)
            if name == "gemma2":
                logits = 30 * (logits / 30).tanh()
        at_token = logits[ids[row, inside]]
        expected = at_token - at_token.min()
        torch.testing.assert_close(scores[row, inside], expected, rtol=2e-3, atol=2e-5)
        assert 0 < float(scores[row, inside].min()) < 1e-6


def test_similarities_in_blocks_are_those_of_the_whole():
    hidden = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0))
    candidates = torch.arange(40)[None] > torch.tensor([[3], [20]])
    torch.testing.assert_close(
        mutual_similarity(hidden, candidates, block=7), mutual_similarity(hidden, candidates)
    )

"""Entropy against the full logits of each text alone."""

import pytest
import torch
from helpers.models import random_model, texts
from helpers.scores import batch_of

from flowtracer.scorers import score_tokens
from flowtracer.scorers.entropy import response_entropy
from flowtracer.scorers.forward import apply_head, read_states


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gpt-oss"])
def test_entropy(name):
    model = random_model(name)
    ids, mask = texts("both")
    batch = batch_of(ids, mask)
    scores = score_tokens(model, batch, ["entropy"])["entropy"]
    for row in range(3):
        real = mask[row] > 0
        with torch.no_grad():
            logits = model(input_ids=ids[row, real][None]).logits[0].float()
        logs = logits.log_softmax(-1)
        expected = -(logs.exp() * logs).sum(-1)[:-1]
        got = scores[row, real][1:]
        inside = batch.candidates[row, real][1:]
        torch.testing.assert_close(got[inside], expected[inside], rtol=2e-3, atol=2e-5)
        assert float(scores[row, ~batch.candidates[row]].abs().sum()) == 0


def test_slices_of_the_logits_change_nothing(model):
    batch = batch_of(*texts("both"))
    states = read_states(model, batch).final
    at_once = response_entropy(model, batch, states)
    in_slices = response_entropy(model, batch, states, at_once=97 * 7)  # the last one is short
    torch.testing.assert_close(in_slices, at_once)


def test_the_models_own_head_runs():
    """Guards the tests above: without its cap, Gemma 2 has other logits."""
    model = random_model("gemma2")
    states = 40 * torch.randn(5, 64)
    with torch.no_grad():
        capped = apply_head(model, states)
        plain = model.lm_head(states)
    torch.testing.assert_close(capped, 30 * (plain / 30).tanh())
    assert float(plain.abs().max()) > 30

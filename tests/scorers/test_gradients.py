"""Gradients of the answer against a backward pass through each text alone."""

import pytest
import torch
from helpers.models import random_model, texts
from helpers.scores import batch_of

from flowtracer.scorers import score_tokens
from flowtracer.scorers.gradients import answer_gradient


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gemma3", "gpt-oss"])
def test_gradients(name):
    model = random_model(name)
    ids, mask = texts("both")
    batch = batch_of(ids, mask)
    with torch.no_grad():
        scores = score_tokens(model, batch, ["gradient", "gradient_input"])
    for row in range(3):
        real = mask[row] > 0
        tokens, weights = ids[row, real], batch.answer[row, real]
        embedded = model.get_input_embeddings()(tokens[None]).detach().requires_grad_()
        logs = model(inputs_embeds=embedded).logits[0].log_softmax(-1)
        total = sum(
            weights[position] * logs[position - 1, tokens[position]]
            for position in range(1, len(tokens))
        )
        (gradient,) = torch.autograd.grad(total, embedded)
        norm, product = gradient[0].norm(dim=1), (gradient * embedded)[0].sum(1).abs()
        assert float(norm.max()) > 0
        scale = {"rtol": 5e-3, "atol": 1e-4 * float(norm.max())}
        torch.testing.assert_close(scores["gradient"][row, real], norm, **scale)
        torch.testing.assert_close(scores["gradient_input"][row, real], product.detach(), **scale)
        assert float(scores["gradient"][row, ~real].abs().sum()) == 0


def test_slices_of_the_logits_change_nothing(model):
    batch = batch_of(*texts("both"))
    whole, parts = answer_gradient(model, batch), answer_gradient(model, batch, at_once=97 * 3)
    for expected, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(expected, other, rtol=1e-4, atol=1e-5)

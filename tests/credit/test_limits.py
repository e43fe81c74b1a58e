"""How much of a batch goes through the model at once."""

import pytest
from helpers.models import random_model

from flowtracer.credit import limits
from flowtracer.credit.limits import SHARED, SHARED_ON_GPU, TOKENS_ON_CPU, forward_limits


def limits_of(model, *, attention_only=True, chunk=None, share_prompts=True):
    return forward_limits(
        model, attention_only=attention_only, chunk=chunk, share_prompts=share_prompts
    )


def test_prompts_are_shared_from_a_length_that_depends_on_the_device(monkeypatch):
    model = random_model("qwen3")
    assert limits_of(model).share_from == SHARED
    monkeypatch.setattr(limits, "maskless", lambda model: True)
    on_gpu = limits_of(model)
    assert on_gpu.share_from == SHARED_ON_GPU > SHARED and on_gpu.most > 1 << 25
    assert limits_of(model, attention_only=False).share_from is None  # gradients pass the prompt


@pytest.mark.parametrize("changes", [{"share_prompts": False}, {"attention_only": False}], ids=str)
def test_prompts_that_may_not_be_shared_are_not(changes):
    assert limits_of(random_model("qwen3"), **changes).share_from is None


def test_a_chunk_that_was_chosen_is_the_only_limit():
    model = random_model("qwen3")
    assert limits_of(model).tokens == TOKENS_ON_CPU
    chosen = limits_of(model, chunk=7)
    assert (chosen.most, chosen.tokens) == (7, None)

"""A model that is read in one thread and runs in another: both get what they would get alone."""

import threading

import pytest
import torch
from helpers.models import random_model, texts
from helpers.scores import batch_of

from flowtracer.attention import mean_attention, tiled_attention
from flowtracer.intervention import attention_knockout, prefill
from flowtracer.scorers import score_tokens

MAIN = threading.get_ident()


def knocked_out(model, ids, mask):
    hidden = torch.zeros(1, 24, dtype=torch.bool)
    hidden[0, 3] = True
    with attention_knockout(model) as knockout:
        return prefill(model, knockout, ids[0].tolist(), hidden).logits


def scores(name):
    return lambda model, ids, mask: score_tokens(model, batch_of(ids, mask), [name])[name]


READINGS = {
    "dense": mean_attention,
    "tiles": lambda model, ids, mask: tiled_attention(model, ids).rows(0, 24),
    "knockout": knocked_out,
    **{name: scores(name) for name in ("correlation", "aligned", "entropy", "gradient")},
}


def run_in_another_thread(model, batch, started, results):
    """Before a layer runs, and the head, in the main thread: the model as it is, in another thread."""

    def work():
        with torch.no_grad():
            results.append(model(**batch, use_cache=False).logits)

    def hook(*args):
        if threading.get_ident() == MAIN:
            thread = threading.Thread(target=work)
            started.append(thread)
            thread.start()
            thread.join()

    return [
        module.register_forward_pre_hook(hook) for module in (model.model.layers[2], model.lm_head)
    ]


@pytest.mark.parametrize("name", READINGS)
@pytest.mark.parametrize(
    ("architecture", "implementation"),
    [
        ("qwen3", "sdpa"),
        ("qwen3", "eager"),
        ("gemma2", "eager"),
        ("mistral", "sdpa"),
        ("gpt-oss", "eager"),
    ],
)
def test_another_threads_forward_is_left_alone(architecture, implementation, name):
    model = random_model(architecture)
    model.set_attn_implementation(implementation)
    ids, mask = texts("both")
    batch = {"input_ids": ids, "attention_mask": mask}
    with torch.no_grad():
        expected = model(**batch, use_cache=False).logits
    alone = READINGS[name](model, ids, mask)
    started, results = [], []
    handles = run_in_another_thread(model, batch, started, results)
    disturbed = READINGS[name](model, ids, mask)
    for handle in handles:
        handle.remove()
    assert len(results) == len(started) > 0
    assert all(torch.equal(logits, expected) for logits in results)
    assert torch.equal(disturbed, alone)
    assert model.config._attn_implementation == implementation


@pytest.mark.parametrize("name", ["entropy", "gradient", "flow"])
def test_threads_that_read_the_same_model_take_turns(name):
    model = random_model("qwen3").train()
    ids, mask = texts("both")
    expected = scores(name)(model, ids, mask)
    results, threads = [], []

    def hook(*args):
        if threading.get_ident() == MAIN and not threads:
            work = threading.Thread(target=lambda: results.append(scores(name)(model, ids, mask)))
            threads.append(work)
            work.start()
            work.join(0.5)
            assert not results  # it waits for this thread to end

    handle = model.model.layers[0].register_forward_pre_hook(hook)
    assert torch.equal(scores(name)(model, ids, mask), expected)
    handle.remove()
    threads[0].join()
    assert torch.equal(results[0], expected)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert "forward" not in model.model.__dict__

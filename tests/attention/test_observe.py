"""A model's own forward pass under observation: what it computes is untouched, what is shown is right."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from helpers.models import ARCHITECTURES, SIZE, WINDOW, random_model, snapshot, texts
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig

from flowtracer import mean_attention
from flowtracer.attention import (
    MeanReader,
    observe_layers,
    select_layers,
    why_not_observed,
)
from flowtracer.attention.capture import layer_call
from flowtracer.models.swap import restored_names

CHOSEN = (2, 3)


def observed_mean(model, ids, mask, layers=CHOSEN, edges="mean"):
    """Mean attention out of the model's own forward pass, and what the pass returned."""
    reader = MeanReader(torch.ones_like(ids) if mask is None else mask, layers, edges=edges)
    with observe_layers(model, layers, reader.read_layer):
        output = model(ids, attention_mask=mask, use_cache=False)
    return reader.finish(), output


@pytest.mark.parametrize("padding", ["none", "left", "right", "both"])
@pytest.mark.parametrize(
    ("name", "implementation"),
    [(name, "eager") for name in ARCHITECTURES]
    # transformers offers no sdpa with soft caps or sinks
    + [(name, "sdpa") for name in ARCHITECTURES if name not in ("gemma2", "gpt-oss")],
)
def test_observed_attention_is_that_of_a_pass_of_its_own(name, implementation, padding):
    model = random_model(name)
    model.set_attn_implementation(implementation)
    ids, mask = texts(padding)
    with torch.no_grad():
        expected = model(ids, attention_mask=mask, use_cache=False).logits
    actual, output = observed_mean(model, ids, mask)
    assert torch.equal(output.logits, expected)
    torch.testing.assert_close(actual, mean_attention(model, ids, mask), atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("edges", ["mean", "no-sink", "value"])
def test_every_kind_of_edges_is_read(edges):
    model = random_model("qwen3")
    ids, mask = texts("both")
    actual, _ = observed_mean(model, ids, mask, edges=edges)
    expected = mean_attention(model, ids, mask, layers=CHOSEN, edges=edges)
    torch.testing.assert_close(actual, expected, atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("reentrant", [None, False, True])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_gradients_and_dropout_are_those_without_observation(implementation, reentrant):
    config = LlamaConfig(**SIZE, attention_dropout=0.3)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).train()
    model.set_attn_implementation(implementation)
    if reentrant is not None:
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model.enable_input_require_grads()
    ids, mask = texts("left")

    def step():
        torch.manual_seed(1)
        loss = model(ids, attention_mask=mask, labels=ids, use_cache=False).loss
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        model.zero_grad()
        return loss.detach(), gradient

    expected = step()
    shown = []
    with observe_layers(model, CHOSEN, shown.append):  # the recomputation runs within the block
        actual = step()
    assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))
    assert [call.layer for call in shown] == list(CHOSEN)
    assert not any(part.requires_grad for call in shown for part in (call.query, call.key))


def test_each_forward_pass_is_shown_once():
    model = random_model("llama")
    ids, mask = texts("none")
    shown = []
    with observe_layers(model, CHOSEN, lambda call: shown.append((len(call.query), call.layer))):
        model(ids[:2], attention_mask=mask[:2])
        model(ids[2:], attention_mask=mask[2:])
    assert shown == [(2, 2), (2, 3), (1, 2), (1, 3)]


def test_a_layer_that_is_called_twice_counts_once():
    model = random_model("llama")
    ids, mask = texts("both")
    expected = mean_attention(model, ids, mask)
    layer = model.model.layers[2]
    plain = layer.forward
    layer.forward = lambda *args, **kwargs: (plain(*args, **kwargs), plain(*args, **kwargs))[0]
    actual, _ = observed_mean(model, ids, mask)
    torch.testing.assert_close(actual, expected, atol=2e-6, rtol=2e-5)


def test_the_model_is_what_it_was_afterwards():
    model = random_model("qwen3").train()
    ids, mask = texts("left")
    before = snapshot(model)
    observed_mean(model, ids, mask)
    assert snapshot(model) == before

    def fail(call):
        raise RuntimeError("in the middle of a layer")

    with pytest.raises(RuntimeError, match="in the middle"), observe_layers(model, (2,), fail):
        model(ids)
    assert snapshot(model) == before


def test_flash_attention_keeps_its_name_and_masks_come_from_the_padding(monkeypatch):
    """Stood in for by a function that takes the 2D mask, as flash attention does."""
    from transformers import AttentionInterface, AttentionMaskInterface

    from flowtracer.attention.mean import causal_mask

    def flash(module, query, key, value, attention_mask, *, scaling, **arguments):
        assert "flash" in module.config._attn_implementation
        real = torch.ones(query.shape[0], query.shape[2], dtype=torch.bool)
        real = real if attention_mask is None else attention_mask
        mask = causal_mask(real, arguments.get("sliding_window"))
        key, value = (part.repeat_interleave(2, 1) for part in (key, value))
        output = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scaling
        )
        return output.transpose(1, 2), None

    monkeypatch.setitem(AttentionInterface._global_mapping, "my_flash", flash)
    masks = AttentionMaskInterface()
    monkeypatch.setitem(
        AttentionMaskInterface._global_mapping, "my_flash", masks["flash_attention_2"]
    )
    for name in ("qwen3", "mistral"):
        model = random_model(name)
        with restored_names(model.model) as configs:
            for config, _ in configs:
                config._attn_implementation_internal = "my_flash"
            assert why_not_observed(model) is None
            for padding in ("none", "both"):
                ids, mask = texts(padding)
                actual, _ = observed_mean(model, ids, mask)
                expected = mean_attention(model, ids, mask)
                torch.testing.assert_close(actual, expected, atol=2e-6, rtol=2e-5)


def test_adapters_take_part():
    peft = pytest.importorskip("peft")
    ids, mask = texts("left")
    adapted = peft.get_peft_model(
        random_model("llama"),
        peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False, r=4),
    )
    actual, output = observed_mean(adapted, ids, mask)
    assert output.logits.requires_grad
    torch.testing.assert_close(actual, mean_attention(adapted, ids, mask), atol=2e-6, rtol=2e-5)


def test_another_thread_is_not_observed():
    model = random_model("qwen3")
    ids, mask = texts("both")
    expected = model(ids, attention_mask=mask).logits
    shown, results = [], []
    with observe_layers(model, CHOSEN, shown.append):
        thread = threading.Thread(
            target=lambda: results.append(model(ids, attention_mask=mask).logits)
        )
        thread.start()
        thread.join()
    assert not shown and torch.equal(results[0], expected)


def test_what_cannot_be_observed_is_told():
    model = random_model("qwen3")
    assert why_not_observed(model) is None
    assert why_not_observed(torch.compile(model, backend="eager")) == "the model is compiled"
    with restored_names(model.model):
        model.config._attn_implementation_internal = "my_attention"
        assert "'my_attention'" in why_not_observed(model)


def test_the_middle_layers_of_a_windowed_model_are_seen_with_their_windows():
    model = AutoModelForCausalLM.from_config(Gemma2Config(**SIZE, **WINDOW)).eval()
    windows = {}
    with observe_layers(model, range(6), lambda c: windows.setdefault(c.layer, c.window)):
        model(texts("none")[0])
    assert sorted(windows) == list(range(6)) and set(windows.values()) == {None, 8}
    assert select_layers("middle", 6) == CHOSEN


def test_rows_and_columns_of_a_layer_keep_their_logsumexp():
    states = torch.randn(4, 2, 6, 8)
    lse = torch.randn(4, 2, 6)
    module = SimpleNamespace(layer_idx=0)
    call = layer_call(module, (states,) * 3, None, {}, chosen=True, last=True)
    call = replace(call, logsumexp=lse)
    rows = torch.tensor([3, 1])
    assert torch.equal(call.take(rows, slice(4)).logsumexp, lse[rows][:, :, :4])
    assert torch.equal(call.take(slice(1, 3), slice(0, 5)).logsumexp, lse[1:3, :, :5])
    # It counts keys in front of a later first column too.
    assert call.take(rows, slice(2, 5)).logsumexp is None
    assert call.part(slice(0, 3)).logsumexp is None

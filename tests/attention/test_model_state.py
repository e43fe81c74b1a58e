"""What capture leaves behind: nothing. And what it does not run."""

import threading

import pytest
import torch
from helpers.models import SIZE, random_model, snapshot, texts
from transformers import AutoModelForCausalLM, LlamaConfig

from flowtracer import mean_attention
from flowtracer.attention import visit_layers
from flowtracer.models.swap import INTERFACE


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_what_it_was_afterwards(implementation, training):
    model = random_model("qwen3")
    model.set_attn_implementation(implementation)
    model.train(training)
    model.model.layers[2].eval()  # a frozen part must stay as it is
    ids, mask = texts("left")
    before = snapshot(model)
    if not training:
        logits = model(ids, attention_mask=mask).logits
    mean_attention(model, ids, mask)
    assert snapshot(model) == before
    if not training:
        assert torch.equal(model(ids, attention_mask=mask).logits, logits)


def test_the_model_is_what_it_was_after_an_exception():
    model = random_model("llama")
    before = snapshot(model)
    ids, _ = texts("none")
    with pytest.raises(IndexError):
        mean_attention(model, ids + 10_000)
    assert snapshot(model) == before

    def fail(call):
        raise RuntimeError("in the middle of a layer")

    with pytest.raises(RuntimeError, match="in the middle"):
        visit_layers(model, {"input_ids": ids}, (2,), fail)
    assert snapshot(model) == before


def test_layers_above_the_last_chosen_one_and_the_head_do_not_run():
    model = random_model("qwen2")
    ran = []
    for number, layer in enumerate(model.model.layers):
        layer.mlp.register_forward_hook(lambda *args, number=number: ran.append(number))
    model.lm_head.register_forward_hook(lambda *args: ran.append("head"))
    mean_attention(model, texts("none")[0], layers="middle")
    assert ran == [0, 1, 2]  # layers 2 and 3 are averaged; of 3 only queries and keys are needed


def test_dropout_does_not_touch_the_graph():
    config = LlamaConfig(**SIZE, attention_dropout=0.5)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).train()
    ids, _ = texts("none")
    assert torch.equal(mean_attention(model, ids), mean_attention(model, ids))


def test_gradient_checkpointing_and_gradients_are_left_alone():
    model = random_model("llama").train()
    model.gradient_checkpointing_enable()
    ids, _ = texts("none")
    captured = mean_attention(model, ids)
    assert not captured.requires_grad
    model(ids, labels=ids).loss.backward()
    assert model.model.layers[0].self_attn.q_proj.weight.grad is not None


def test_peft_adapters_take_part():
    peft = pytest.importorskip("peft")
    ids, _ = texts("none")
    model = random_model("llama")
    plain = mean_attention(model, ids)
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False, r=4)
    )
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.5)
    captured = mean_attention(adapted, ids)
    assert float((captured - plain).abs().max()) > 1e-3
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(captured, mean_attention(merged, ids), rtol=1e-3, atol=1e-5)


def test_compiled_models_are_unwrapped():
    model = random_model("qwen3")
    ids, _ = texts("none")
    compiled = torch.compile(model, backend="eager")
    assert torch.equal(mean_attention(compiled, ids), mean_attention(model, ids))


def test_packed_rows_do_not_see_each_other():
    model = random_model("qwen2")
    ids, _ = texts("none")
    packed = torch.cat([ids[:1, :10], ids[1:2, :14]], dim=1)
    positions = torch.cat([torch.arange(10), torch.arange(14)])[None]
    captured = mean_attention(model, packed, position_ids=positions)
    assert float(captured[0, 10:, :10].abs().max()) == 0.0
    torch.testing.assert_close(
        captured[0, 10:, 10:], mean_attention(model, ids[1:2, :14])[0], rtol=1e-4, atol=1e-6
    )


def test_two_threads_do_not_disturb_each_other():
    model = random_model("qwen3")
    ids, mask = texts("both")
    expected = mean_attention(model, ids, mask)
    results = []

    def work():
        results.append(mean_attention(model, ids, mask))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(torch.equal(result, expected) for result in results)
    assert model.config._attn_implementation != INTERFACE

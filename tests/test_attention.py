"""Capture against transformers' own eager attention, and what it leaves behind."""

import threading

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    Gemma2Config,
    Gemma3TextConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    T5Config,
    T5ForConditionalGeneration,
)

from flowtracer import AttentionCaptureError, answer_flow, mean_attention
from flowtracer.attention import kernel, select_layers
from flowtracer.attention.capture import INTERFACE

SIZE = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WINDOW = {"head_dim": 16, "sliding_window": 8}  # far below the length of the test texts
ARCHITECTURES = {
    "qwen2": Qwen2Config(**SIZE),
    "qwen3": Qwen3Config(**SIZE, head_dim=16),
    "llama": LlamaConfig(**SIZE),
    "gemma2": Gemma2Config(**SIZE, **WINDOW, query_pre_attn_scalar=16),
    "gemma3": Gemma3TextConfig(**SIZE, **WINDOW, query_pre_attn_scalar=16),
    "mistral": MistralConfig(**SIZE, sliding_window=8),
    "phi3": Phi3Config(**SIZE),
    "gpt-oss": GptOssConfig(**SIZE, **WINDOW, num_local_experts=4, num_experts_per_tok=2),
}


def random_model(name):
    """Weights large enough that attention is far from uniform, caps and sinks matter."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(ARCHITECTURES[name]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3 if parameter.ndim > 1 else 1.0)
    return model


def texts(padding):
    """(3, 24) ids and a mask with padding on the given sides."""
    ids = torch.randint(3, 97, (3, 24), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    if padding in ("left", "both"):
        mask[1, :5] = 0
    if padding in ("right", "both"):
        mask[2, -7:] = 0
    return ids, mask


def eager_mean(model, ids, mask, layers):
    """The slow way: every layer's attention kept, then averaged."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        kept = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            output_attentions=True,
            use_cache=False,
        ).attentions
    mean = torch.stack([kept[layer] for layer in layers]).float().mean((0, 2))
    return mean * mask[:, :, None] * mask[:, None, :]


@pytest.mark.parametrize("padding", ["none", "left", "right", "both"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_capture_equals_eager(name, padding, monkeypatch):
    monkeypatch.setattr(
        kernel, "_block_size", lambda query: 7
    )  # several blocks, the last one short
    model = random_model(name)
    ids, mask = texts(padding)
    for layers in ("middle", "all", (0, 3)):
        expected = eager_mean(model, ids, mask, select_layers(layers, 6))
        captured = mean_attention(model, ids, mask, layers=layers)
        torch.testing.assert_close(captured, expected, rtol=1e-4, atol=5e-6)


def test_gpt_oss_sinks_take_attention_away():
    """Guards the test above: with sinks, rows really sum to less than 1."""
    model = random_model("gpt-oss")
    ids, _ = texts("none")
    assert float(mean_attention(model, ids).sum(2).mean()) < 0.98


def test_windows_are_shorter_than_the_text():
    """Guards the test above: sliding layers really see a window only."""
    model = random_model("mistral")
    ids, _ = texts("none")
    assert float(mean_attention(model, ids)[:, 20, :12].abs().max()) == 0.0


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


def snapshot(model):
    return (
        model.config.to_dict(),
        model.config._attn_implementation,
        [module.training for module in model.modules()],
        [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()],
        [(name, p.requires_grad, p.data_ptr()) for name, p in model.named_parameters()],
    )


def test_the_model_is_what_it_was_after_an_exception(monkeypatch):
    model = random_model("llama")
    before = snapshot(model)
    ids, _ = texts("none")
    with pytest.raises(IndexError):
        mean_attention(model, ids + 10_000)
    assert snapshot(model) == before

    def fail(*args, **kwargs):
        raise RuntimeError("in the middle of a layer")

    monkeypatch.setattr("flowtracer.attention.capture.attend", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        mean_attention(model, ids)
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.nn.Linear(2, 2), "Linear is not a transformers model"),
        (
            lambda: T5ForConditionalGeneration(
                T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2)
            ),
            "T5ForConditionalGeneration is an encoder-decoder",
        ),
    ],
)
def test_models_that_cannot_be_captured_are_named(make, message):
    with pytest.raises(AttentionCaptureError, match=message):
        mean_attention(make(), torch.ones(1, 4, dtype=torch.long))


def test_a_model_with_layers_without_attention_is_named():
    from transformers import MambaConfig, MambaForCausalLM

    model = MambaForCausalLM(MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=3))
    with pytest.raises(AttentionCaptureError, match="Mamba"):
        mean_attention(model, torch.ones(1, 4, dtype=torch.long))


def test_a_model_that_looks_both_ways_is_refused():
    model = BertModel(
        BertConfig(
            vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
            intermediate_size=16,
        )
    )  # fmt: skip
    with pytest.raises(AttentionCaptureError, match="Bert"):
        mean_attention(model, torch.ones(1, 4, dtype=torch.long))


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (torch.ones(4, dtype=torch.long), None, r"input_ids has shape \(4,\)"),
        (torch.ones(1, 0, dtype=torch.long), None, r"input_ids has shape \(1, 0\)"),
        (
            torch.ones(1, 4, dtype=torch.long),
            torch.ones(1, 5),
            r"attention_mask has shape \(1, 5\)",
        ),
    ],
)
def test_shapes_that_disagree_are_refused(ids, mask, message):
    with pytest.raises(ValueError, match=message):
        mean_attention(random_model("llama"), ids, mask)


@pytest.mark.parametrize(
    ("choice", "depth", "expected"),
    [
        ("middle", 36, tuple(range(12, 24))),
        ("middle", 30, tuple(range(10, 20))),
        ("middle", 6, (2, 3)),
        ("middle", 2, (0,)),
        ("middle", 1, (0,)),
        ("early", 36, tuple(range(12))),
        ("late", 36, tuple(range(24, 36))),
        ("all", 3, (0, 1, 2)),
        ("15-25", 36, tuple(range(15, 26))),
        ("3, 5,-1", 8, (3, 5, 7)),
        (range(2, 4), 8, (2, 3)),
        ([5, 1, 5], 8, (1, 5)),
        (-1, 8, (7,)),
    ],
)
def test_layer_choices(choice, depth, expected):
    assert select_layers(choice, depth) == expected


@pytest.mark.parametrize("choice", ["centre", "1-", "", "5-3", 8, -9, [0, 99], [], "early"])
def test_layer_choices_that_make_no_sense_are_refused(choice):
    depth = 2 if choice == "early" else 8
    with pytest.raises(ValueError, match="layers: "):
        select_layers(choice, depth)


@pytest.mark.parametrize("name", ["embedded", "smollm2", "gemma3-270m"])
def test_batch_mates_padding_and_tail_change_nothing_on_a_real_model(name, embedded, real_model):
    loaded = embedded if name == "embedded" else real_model(name)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 200, (1, 90), generator=generator)
    question, answer = torch.zeros(1, 90).bool(), torch.zeros(1, 90).bool()
    question[:, :20] = True
    answer[:, 70:74] = True
    alone = answer_flow(mean_attention(loaded.model, ids), question, answer).throughput[0]

    cut = slice(None, 74)
    tailless = answer_flow(
        mean_attention(loaded.model, ids[:, cut]), question[:, cut], answer[:, cut]
    ).throughput[0]
    torch.testing.assert_close(tailless, alone[:74], rtol=2e-3, atol=1e-6)

    for left, right in ((0, 30), (30, 0), (13, 17)):
        pad = (left, right)
        mates = torch.randint(5, 200, (1, 120), generator=generator)
        rows = torch.cat([mates, torch.nn.functional.pad(ids, pad)])
        real = torch.cat(
            [torch.ones_like(mates), torch.nn.functional.pad(torch.ones_like(ids), pad)]
        )
        both = [torch.nn.functional.pad(mask, pad).expand(2, -1) for mask in (question, answer)]
        attention = mean_attention(loaded.model, rows, real)
        padded = answer_flow(attention, *both).throughput[1]
        torch.testing.assert_close(padded[left : left + 90], alone, rtol=2e-3, atol=1e-6)
        assert float(attention[1, :left].abs().sum() + attention[1, :, :left].abs().sum()) == 0

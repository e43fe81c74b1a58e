"""Capture against transformers' own eager attention, and what it leaves behind."""

import pytest
import torch
from helpers.models import ARCHITECTURES, random_model, texts
from transformers import (
    BertConfig,
    BertModel,
    T5Config,
    T5ForConditionalGeneration,
)

from flowtracer import AttentionCaptureError, answer_flow, mean_attention
from flowtracer.attention import select_layers


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
def test_capture_equals_eager(name, padding):
    model = random_model(name)
    ids, mask = texts(padding, length=70)  # a block of 64 queries, and a short one
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


def test_a_text_that_cannot_fit_is_refused_at_once():
    ids = torch.ones(1, 3_000_000, dtype=torch.long)
    with pytest.raises(ValueError, match=r"attention of 3,000,000 tokens needs 36000\.0 GB"):
        mean_attention(random_model("llama"), ids)


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

"""Micro-batches of swift, padded and packed, as rows; their weights in its completion columns."""

import pytest
import torch
from swift.model import get_model_processor
from swift.rl_core.data import GRPOSample
from swift.rlhf_trainers.utils import collate_to_grpo_micro_batch, encode_sample
from swift.template import get_template
from task import register_template  # noqa: F401, registers the template

from flowtracer.integrations.swift.rows import last_columns, rows_of
from flowtracer.models import model_path

RESPONSES = (
    ("Make 33 from 3, 7, 18.", "18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}"),
    ("Make 21 from 7, 5, 8, 1.", "8 - 5 = 3.\n\\boxed{(8 - 5) * 7}"),
    ("Make 20 from 7, 5, 8.", "7 + 5 = 12, 12 + 8 = 20, yes.\n\\boxed{7 + 5 + 8}"),
)


@pytest.fixture(scope="module")
def template():
    _, processor = get_model_processor(model_path("embedded"), model_type="qwen3", load_model=False)
    template = get_template(processor, template_type="embedded")
    template.set_mode("train")
    return template


def collated(template, tokenizer, *, padding_free, side="right"):
    """What swift makes of responses."""
    template.padding_free, template.padding_side = padding_free, side
    samples = []
    for prompt, response in RESPONSES:
        ids = tokenizer(response + "<|end|>", add_special_tokens=False)["input_ids"]
        messages = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ]
        samples.append(GRPOSample(messages=messages, response_token_ids=[ids]))
    for sample in samples:
        sample.encoded = encode_sample(sample, template)
        sample.encoded.pop("_extra_kwargs", None)
    return collate_to_grpo_micro_batch(
        samples, template, device=torch.device("cpu"), use_logits_to_keep=True
    )


@pytest.mark.parametrize(
    ("padding_free", "side"), [(False, "right"), (False, "left"), (True, "right")]
)
def test_rows_are_the_sequences(template, embedded, padding_free, side):
    inputs, batch = collated(template, embedded.tokenizer, padding_free=padding_free, side=side)
    rows = rows_of(inputs, batch.completion_mask, padding_free=padding_free)
    for row, (prompt, response) in enumerate(RESPONSES):
        ids = rows.input_ids[row]
        text = embedded.tokenizer.decode(ids[rows.attention_mask[row] > 0])
        written = embedded.tokenizer.decode(ids[rows.response_mask[row] > 0])
        assert "".join(text.split()).startswith("".join(f"<|user|>{prompt}".split()))
        assert "".join(written.split()) == "".join(f"{response}<|end|>".split())


def test_values_come_back_to_the_completion_columns(template, embedded):
    for padding_free in (False, True):
        inputs, batch = collated(template, embedded.tokenizer, padding_free=padding_free)
        rows = rows_of(inputs, batch.completion_mask, padding_free=padding_free)
        back = last_columns(rows.response_mask, batch.completion_mask.shape[1], fill=0)
        assert torch.equal(back.bool(), batch.completion_mask)


def test_packed_batches_get_the_weights_of_padded_ones(trainer, embedded):
    """swift wants flash attention for `padding_free`; the pass for credit does without."""
    weights = []
    for padding_free in (False, True):
        inputs, batch = collated(trainer.template, embedded.tokenizer, padding_free=padding_free)
        batch.advantages = torch.ones(batch.completion_mask.shape)
        trainer._give_credit(inputs, batch)
        mask = batch.completion_mask
        weights.append([row[real] for row, real in zip(batch.advantages, mask, strict=True)])
        trainer.template.padding_free = False
    for padded, packed in zip(*weights, strict=True):
        assert bool((padded != 1).any())
        torch.testing.assert_close(packed, padded)

"""TRL's GRPO on pictures, end to end: tiny vision-language models, credit of both kinds, loss by hand."""

import copy
import inspect

import pytest
import torch

trl = pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
pytest.importorskip("PIL", reason="needs the extra flowtracer[vision]")
from datasets import Dataset  # noqa: E402
from helpers.processors import PROCESSORS, SMALL_TEXT, picture, small_model  # noqa: E402
from helpers.trl_settings import IN_TESTS  # noqa: E402
from transformers import (  # noqa: E402
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    SiglipVisionConfig,
)
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

from flowtracer import AttentionCaptureError  # noqa: E402
from flowtracer.credit import Credit, Weighting, token_credit  # noqa: E402
from flowtracer.integrations.trl import FlowCreditMixin, FlowGRPOTrainer  # noqa: E402
from flowtracer.integrations.trl_pictures import COUNTS  # noqa: E402
from flowtracer.models.pictures import IMAGES, TYPES, model_inputs  # noqa: E402
from flowtracer.scorers.responses import sequence_batch  # noqa: E402

NAMES = list(PROCESSORS)
SIZES = ((24, 16), (16, 16), (32, 16), (16, 24))  # of pictures, in pixels


def length_reward(completion_ids, **kwargs):
    return [float(sum(ids) % 7) for ids in completion_ids]


def last_word(text):
    if not text.split():
        return []
    word = text.split()[-1]
    return [(text.rindex(word), text.rindex(word) + len(word))]


def dataset():
    """Prompts with one picture, or with two, of several sizes."""
    rows = []
    for number, size in enumerate(SIZES):
        images = [picture(number, *size)]
        if number == 1:
            images.append(picture(9, 16, 16))
        prompt = [{"role": "user", "content": "what colour is square" + " ?" * number}]
        rows.append({"prompt": prompt, "images": images})
    return Dataset.from_list(rows)


@pytest.fixture
def trainer(tmp_path):
    def make(name, kind=FlowGRPOTrainer, *, changes=None, **extra):
        settings = {
            **IN_TESTS,
            "output_dir": str(tmp_path / "out"),
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 2,
            "num_generations": 4,
            "max_completion_length": 12,
            "loss_type": "grpo",
            "learning_rate": 1e-2,
            "max_steps": 2,
        } | (changes or {})
        return kind(
            model=small_model(name),
            processing_class=PROCESSORS[name](),
            reward_funcs=length_reward,
            args=GRPOConfig(**settings),
            train_dataset=dataset(),
            **extra,
        )

    return make


class Keeping(GRPOTrainer):
    """Keeps advantages as they were generated, and what each loss got and gave."""

    def __init__(self, *args, **kwargs):
        self.generated, self.losses = {}, []
        super().__init__(*args, **kwargs)

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        for key, advantage in zip(keys(output), output["advantages"].tolist(), strict=True):
            self.generated[key] = advantage
        return output


class KeepingFlow(FlowCreditMixin, Keeping):
    def _compute_loss(self, model, inputs):
        state = copy.deepcopy(self.model.state_dict())
        loss = super()._compute_loss(model, inputs)
        if "pixel_values" in inputs:  # not when the loss is tried
            slope = torch.autograd.grad(loss, model.lm_head.weight, retain_graph=True)[0]
            self.losses.append(({**inputs}, loss.item(), slope, state))
        return loss


def keys(inputs):
    """A key for each row's tokens."""
    both = [
        [
            ids[mask > 0].tolist()
            for ids, mask in zip(inputs[f"{part}_ids"], inputs[f"{part}_mask"], strict=True)
        ]
        for part in ("prompt", "completion")
    ]
    return [(tuple(prompt), tuple(completion)) for prompt, completion in zip(*both, strict=True)]


def pictures_of_row(inputs, row):
    """What the model takes of one row's pictures."""
    counts = inputs["num_images"]
    start, stop = sum(counts[:row]), sum(counts[: row + 1])
    grid = inputs.get("image_grid_thw")
    if grid is None:
        return {"pixel_values": inputs["pixel_values"][start:stop]}
    sizes = grid.prod(-1).tolist()
    begin = sum(sizes[:start])
    pixels = inputs["pixel_values"][begin : begin + sum(sizes[start:stop])]
    return {"pixel_values": pixels, "image_grid_thw": grid[start:stop]}


def alone(inputs, row):
    """One row without padding: ids (1, T), where its completion begins, and its pictures."""
    prompt, completion = keys(inputs)[row]
    ids = torch.tensor([[*prompt, *completion]])
    types = "mm_token_type_ids" if "image_grid_thw" in inputs else "token_type_ids"
    return ids, len(prompt), {**pictures_of_row(inputs, row), types: (ids == 7).long()}


def weights_by_hand(trainer, model, inputs, row):
    ids, start, processed = alone(inputs, row)
    batch = sequence_batch(
        trainer.processing_class.tokenizer,
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        question=torch.arange(ids.shape[1])[None] < start,
        completion_mask=(torch.arange(ids.shape[1])[None] >= start).long(),
        response_mask=torch.arange(ids.shape[1])[None] >= start,
        answer=last_word,
        steps=None,
        delimiters=None,
        model_inputs=model_inputs(model, processed, ids),
    )
    return token_credit(model, batch, trainer.credit).weights[0, start:]


def loss_by_hand(model, inputs, weighted):
    """Equation 5 on policy, loss_type "grpo": the mean over rows of the mean over their tokens."""
    total = 0.0
    for row, advantages in enumerate(weighted):
        ids, start, processed = alone(inputs, row)
        logits = model(input_ids=ids, **processed).logits[0, start - 1 : -1].float()
        logs = logits.log_softmax(-1).gather(1, ids[0, start:, None])[:, 0]
        total = total - ((logs - logs.detach()).exp() * advantages).mean()
    return total / len(weighted)


@pytest.mark.parametrize("forward", ["own", "ride"])
@pytest.mark.parametrize("name", NAMES)
def test_weights_are_those_of_token_credit_and_the_loss_is_equation_5(
    trainer, name, forward, recwarn
):
    flow_trainer = trainer(
        name, KeepingFlow, credit=Credit(answer=last_word), credit_forward=forward
    )
    flow_trainer.train()
    assert len(flow_trainer.losses) == 4
    assert not [str(w.message) for w in recwarn if "credit" in str(w.message)]
    chosen = 0
    for inputs, loss, slope, state in flow_trainer.losses:
        model = small_model(name)
        model.load_state_dict(state)
        weighted = []
        for row, key in enumerate(keys(inputs)):
            advantage = flow_trainer.generated[key]
            weights = weights_by_hand(flow_trainer, model, inputs, row)
            expected = advantage * weights if advantage else torch.zeros(len(key[1]))
            advantages = inputs["advantages"][row, : len(key[1])]
            torch.testing.assert_close(advantages, expected, atol=1e-4, rtol=1e-3)
            chosen += int((weights > 1).sum())
            weighted.append(expected)
        by_hand = loss_by_hand(model, inputs, weighted)
        # Two accumulated parts of a step: each is half of it.
        assert loss == pytest.approx(by_hand.item() / 2, abs=1e-5)
        (own,) = torch.autograd.grad(by_hand / 2, model.lm_head.weight)
        torch.testing.assert_close(slope, own, atol=1e-4, rtol=1e-3)
    assert chosen > 50


@pytest.mark.parametrize("forward", ["own", "ride"])
@pytest.mark.parametrize("name", NAMES)
def test_emphasis_one_is_plain_grpo_bit_by_bit(trainer, name, forward):
    plain = trainer(name, GRPOTrainer)
    plain.train()
    off = Credit(answer=last_word, weighting=Weighting(emphasis=1.0))
    flow = trainer(name, credit=off, credit_forward=forward)
    flow.train()
    on = trainer(name, credit=Credit(answer=last_word), credit_forward=forward)
    on.train()
    assert equal(flow, plain)
    assert not equal(on, plain)


def equal(trainer, other):
    pairs = zip(trainer.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_model_whose_pictures_are_not_read_is_refused_before_training(trainer, monkeypatch):
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 16, "patch_size": 8}  # fmt: skip
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**vision).to_dict(),
        text_config=GemmaConfig(**SMALL_TEXT, head_dim=16).to_dict(),
        image_token_id=7,
    )
    made = PaliGemmaForConditionalGeneration(config)
    monkeypatch.setitem(globals(), "small_model", lambda name: made)
    with pytest.raises(
        AttentionCaptureError, match="PaliGemmaForConditionalGeneration takes images"
    ):
        trainer("qwen2_5_vl")


def test_what_is_relied_on_in_trl():
    taken = inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
    assert {*IMAGES, *TYPES, *COUNTS} <= taken.keys()

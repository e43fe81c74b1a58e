"""Credit in TRL's asynchronous GRPO: a real step on a CPU, with samples of a worker that has them already."""

import copy
import inspect
import itertools
import queue
from collections import defaultdict

import pytest
import torch

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
pytest.importorskip("trl.experimental.async_grpo", reason="TRL has no asynchronous GRPO")
from helpers.trl_async import async_trainer, made_samples
from helpers.trl_tools import tool_model, tool_tokenizer
from trl.experimental.async_grpo import AsyncGRPOTrainer
from trl.experimental.async_grpo.async_grpo_trainer import RolloutQueueDataset
from trl.experimental.async_grpo.packing import TreeRow

from flowtracer import Calibrated, Scorer
from flowtracer.credit import Credit, Weighting, sequence_credit
from flowtracer.integrations.trl_async import (
    IDS,
    KINDS,
    PADDING,
    RELIED_ON,
    TRAINED,
    WEIGHTS,
    FlowAsyncCreditMixin,
    FlowAsyncGRPOTrainer,
    sample_tensors,
    sample_weights,
)
from flowtracer.integrations.trl_queue import ScoredQueue, weights_of
from flowtracer.models import Loaded

pytestmark = pytest.mark.filterwarnings("ignore")


class Recording:
    """Keeps the loss and the advantages that it read."""

    def compute_loss(self, model, inputs, *args, **kwargs):
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        self.inputs, self.loss = inputs, loss.detach()
        return loss


class Plain(Recording, AsyncGRPOTrainer):
    pass


class Recorded(FlowAsyncCreditMixin, Recording, AsyncGRPOTrainer):
    pass


@pytest.fixture
def trained(tmp_path):
    def train(kind=Recorded, **options):
        trainer, samples = async_trainer(kind, tmp_path, **options)
        trainer.first_model = copy.deepcopy(trainer.model)
        trainer.train()
        return trainer, samples

    return train


def parameters(trainer):
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])


def expected_weights(samples, credit=None):
    """`sequence_credit` of each sample alone, at its trained tokens."""
    tokenizer = tool_tokenizer()
    model = tool_model(tokenizer)
    expected = []
    for sample in samples:
        mask = torch.tensor(sample.completion_mask)[None] > 0
        ids = torch.tensor(sample.input_ids)[None]
        weights = sequence_credit(model, tokenizer, ids, mask, credit=credit).weights[mask]
        expected.append(weights if sample.advantage else torch.ones_like(weights))
    return expected


def loss_by_hand(samples, weights, epsilon=0.2):
    """Token by token: the mean over trained tokens of -min(r w A, clip(r) w A)."""
    model = tool_model(tool_tokenizer())
    total, count = 0.0, 0
    for sample, weight in zip(samples, weights, strict=True):
        ids = torch.tensor(sample.input_ids)[None]
        logps = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        trained = sample.completion_mask[1:] > 0
        for at, w in zip(trained.nonzero()[0], weight, strict=True):
            ratio = float((logps[at] - sample.old_log_probs[at + 1]).exp())
            gain = sample.advantage * float(w)
            total -= min(ratio * gain, min(max(ratio, 1 - epsilon), 1 + epsilon) * gain)
            count += 1
    return total / count


def frozen_scorer(**options):
    tokenizer = tool_tokenizer()
    return Scorer(Loaded(tool_model(tokenizer), tokenizer, "first policy"), **options)


@pytest.mark.parametrize("source", ["own model", "scorer"])
def test_a_step_has_the_weights_of_token_credit_and_the_loss_by_hand(trained, source):
    options = {} if source == "own model" else {"scorer": frozen_scorer()}
    trainer, samples = trained(**options)
    expected = expected_weights(samples)
    assert all((weights > 1).any() for weights in expected[:3])
    advantages = torch.cat(
        [weights * sample.advantage for weights, sample in zip(expected, samples, strict=True)]
    )
    assert torch.equal(trainer.inputs["advantages"][0], advantages)
    assert float(trainer.loss) == pytest.approx(loss_by_hand(samples, expected), rel=1e-4)
    logged = trainer.state.log_history[0]
    weights = torch.cat(expected)
    assert logged["credit/mean_weight"] == pytest.approx(float(weights.mean()))
    assert logged["credit/selected"] == pytest.approx(float((weights > 1).float().mean()))
    assert trainer.rollout_queue is trainer.rollout_worker.rollout_buffer


@pytest.mark.parametrize("source", ["own model", "scorer"])
def test_weights_of_one_are_the_plain_trainer_bit_by_bit(trained, monkeypatch, source):
    plain, _ = trained(Plain)
    before = torch.cat([p.detach().flatten() for p in plain.first_model.parameters()])
    assert not torch.equal(before, parameters(plain))
    monkeypatch.setattr(Weighting, "neutral", False)
    unit_credit = Credit(weighting=Weighting(emphasis=1.0))
    options = (
        {"credit": unit_credit}
        if source == "own model"
        else {"scorer": frozen_scorer(rule=unit_credit)}
    )
    weighed, _ = trained(**options)
    assert torch.equal(parameters(weighed), parameters(plain))


def test_rows_by_a_budget_of_tokens_keep_every_samples_weights(trained):
    """Two updates: a row closes when the next sample does not fit."""
    trainer, samples = trained(config={"token_budget": 260, "gradient_accumulation_steps": 1})
    first = trainer.inputs["advantages"][0]
    weights = expected_weights(samples)
    expected = torch.cat([w * s.advantage for w, s in zip(weights, samples, strict=True)])
    assert 0 < len(first) < len(expected)
    assert torch.equal(first, expected[: len(first)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"credit": Credit(), "scorer": object()}, "credit has no effect beside scorer"),
        ({"credit": Credit(rule=Calibrated())}, "asynchronous GRPO has none"),
        ({"credit": Credit(question="user")}, "question is 'user'"),
    ],
)
def test_settings_without_meaning_are_refused_before_a_model_is_loaded(options, message):
    with pytest.raises(ValueError, match=message):
        FlowAsyncGRPOTrainer("no-such-model", **options)


def row_of(samples):
    """A row of TRL's, of samples as its dataset has them."""
    row = TreeRow()
    for fields in samples:
        row.add(fields if isinstance(fields, dict) else vars_of(fields))
    return row


def vars_of(sample):
    names = ("input_ids", "completion_mask", "old_log_probs", "advantage", "group_id")
    return {name: getattr(sample, name) for name in names}


def test_rows_of_two_processes_have_one_shape():
    samples = made_samples(tool_tokenizer())
    rows = [row_of(samples[:3]), row_of(samples[1:2])]
    tensors = sample_tensors(rows)
    ids, kinds = tensors[IDS][1], tensors[KINDS][1]
    assert tensors[IDS].shape[:2] == (2, 3) and bool((kinds[1:] == PADDING).all())
    own = kinds == TRAINED
    tokenizer = tool_tokenizer()
    credit = sequence_credit(
        tool_model(tokenizer), tokenizer, ids, own, attention_mask=(kinds != PADDING).long()
    )
    assert torch.equal(credit.weights[own], expected_weights(samples[1:2])[0])

    waiting = ScoredQueue(filled(samples), frozen_scorer())
    scored = [waiting.get(timeout=60) for _ in samples]
    waiting.close()
    weights = sample_weights([row_of(scored[:3]), row_of(scored[1:2])])[WEIGHTS]
    first, second = torch.cat(expected_weights(samples[:3])), expected_weights(samples[1:2])[0]
    assert torch.equal(weights[0], first)
    assert torch.equal(weights[1, : len(second)], second)
    assert bool((weights[1, len(second) :] == 1).all())


class Failing:
    def weights(self, input_ids, *, response_masks):
        raise ConnectionError("no answer within 600 s")


def filled(samples):
    rollouts = queue.Queue()
    for sample in samples:
        rollouts.put(sample)
    return rollouts


def test_a_scorer_that_fails_ends_the_run_with_its_own_words():
    waiting = ScoredQueue(filled(made_samples(tool_tokenizer())), Failing())
    with pytest.raises(ConnectionError, match="no answer within 600 s"):
        waiting.get(timeout=5)
    waiting.close()


def test_the_queue_keeps_order_and_weighs_no_sample_without_advantage():
    samples = made_samples(tool_tokenizer())
    waiting = ScoredQueue(filled(samples), frozen_scorer(), ahead=1)
    got = [waiting.get(timeout=60) for _ in samples]
    assert all(a is b for a, b in zip(got, samples, strict=True))
    assert set(weights_of(got[3].input_ids)) == {1.0}
    assert all(1.5 in weights_of(sample.input_ids) for sample in got[:3])
    with pytest.raises(queue.Empty):
        waiting.get(timeout=0.01)
    waiting.close()
    assert not waiting._thread.is_alive()


def test_what_is_relied_on_in_trl():
    """A queue passes token ids on as they are, and a row lays its tokens out sample after sample."""
    samples = made_samples(tool_tokenizer())
    dataset = RolloutQueueDataset(
        filled(samples), lambda: 1, lambda seconds: None, 1.0, defaultdict(list)
    )
    queued = list(itertools.islice(dataset, len(samples)))  # it waits for more
    for fields, sample in zip(queued, samples, strict=True):
        assert fields["input_ids"] is sample.input_ids, "TRL copies the ids of a sample"
    row = row_of(queued)
    packed = row.pack()
    assert set(RELIED_ON) <= {"samples", *row.samples[0], *packed}
    logps = [s.old_log_probs[1:][s.completion_mask[1:] > 0] for s in samples]
    flat = torch.tensor([value for part in logps for value in part], dtype=torch.float32)
    assert torch.equal(packed["old_log_probs"], flat), "TRL lays tokens out in another order"
    loss = inspect.getsource(AsyncGRPOTrainer.compute_loss)
    assert 'inputs["advantages"][selected]' in loss, "the loss takes its advantages elsewhere"

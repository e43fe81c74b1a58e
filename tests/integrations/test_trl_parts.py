"""A training step without needless work ends in the parameters of TRL's own."""

import copy
import inspect

import pytest
import torch

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from helpers.grpo import grpo_trainer
from trl import GRPOTrainer

from flowtracer.integrations.trl_parts import (
    RELIED_ON,
    LengthSortedMixin,
    parts_by_length,
)
from flowtracer.models.decoding import decode_fast


class SortedTrainer(LengthSortedMixin, GRPOTrainer):
    pass


@pytest.fixture
def trainer(embedded, tmp_path):
    def make(kind=GRPOTrainer, **changes):
        settings = {"max_steps": 5, "per_device_train_batch_size": 16, "max_completion_length": 48}
        settings |= {"learning_rate": 1e-3, "optim": "adamw_torch_fused"} | changes
        model = copy.deepcopy(embedded.model)
        return grpo_trainer(kind, model, embedded.tokenizer, tmp_path / "out", config=settings)

    return make


def parameters(trainer):
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])


def trained(trainer):
    """A trainer's parameters after its steps; it takes its seed when it is made."""
    trainer.train()
    return parameters(trainer)


def test_what_is_relied_on_in_trl():
    method = GRPOTrainer._get_per_token_logps_and_entropies
    taken = list(inspect.signature(method).parameters)
    assert taken[1 : 1 + len(RELIED_ON)] == list(RELIED_ON), "TRL changed the method"
    assert taken[6:8] == ["compute_entropy", "compute_aux_loss"]


def test_fast_decoding_leaves_parameters_bit_for_bit(trainer):
    plain = trainer()
    before = parameters(plain)
    expected = trained(plain)
    assert not torch.equal(expected, before)
    fast = trainer()
    decode_fast(fast.model)
    assert torch.equal(trained(fast), expected)


def test_parts_leave_parameters_up_to_rounding(trainer):
    expected = trained(trainer(optim="sgd", learning_rate=0.3))
    actual = trained(trainer(SortedTrainer, optim="sgd", learning_rate=0.3))
    torch.testing.assert_close(actual, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("entropy", [False, True])
def test_parts_give_log_probabilities_and_gradients_of_one_batch(trainer, entropy):
    plain, parts = trainer(), trainer(SortedTrainer)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 200, (60, 150), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(60):
        mask[row, : int(torch.randint(0, 19, (), generator=generator))] = 0
        mask[row, 20 + int(torch.randint(1, 131, (), generator=generator)) :] = 0
    results = []
    for instance in (plain, parts):
        logs, entropies, _ = instance._get_per_token_logps_and_entropies(
            instance.model, ids, mask, 130, compute_entropy=entropy
        )
        real = mask[:, 20:] > 0
        logs[real].sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in instance.model.parameters()])
        results.append((logs[real], entropies[real] if entropy else None, gradient))
    for actual, expected in zip(results[1], results[0], strict=True):
        if expected is not None:
            torch.testing.assert_close(actual, expected, atol=2e-3, rtol=1e-4)
    assert len(parts_by_length(mask, 130)) > 1


@pytest.mark.parametrize("tokens", [1, 100, 400, 10_000])
def test_parts_hold_every_row_once_with_all_of_its_tokens(tokens):
    generator = torch.Generator().manual_seed(tokens)
    mask = torch.ones(30, 40, dtype=torch.long)
    for row in range(29):
        mask[row, : int(torch.randint(0, 12, (), generator=generator))] = 0
        mask[row, 12 + int(torch.randint(0, 29, (), generator=generator)) :] = 0
    mask[29] = 0
    parts = parts_by_length(mask, 28, tokens=tokens)
    assert sorted(torch.cat([rows for rows, _ in parts]).tolist()) == list(range(30))
    for rows, stop in parts:
        assert int(mask[rows, :stop].sum()) == int(mask[rows].sum()) and stop >= 13
        assert len(rows) == 1 or len(rows) * stop <= tokens

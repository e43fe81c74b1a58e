"""Credit out of the loss's own forward pass gives the step that a pass of its own gives."""

import copy
import inspect

import pytest
import torch
from helpers.models import SIZE, WINDOW

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from helpers.grpo import grpo_trainer
from transformers import AutoModelForCausalLM, Gemma2Config, MistralConfig
from trl import GRPOTrainer

from flowtracer.credit import Credit, ScoreOptions, Weighting
from flowtracer.integrations.trl import FlowCreditMixin, FlowGRPOTrainer
from flowtracer.integrations.trl_parts import LengthSortedMixin
from flowtracer.integrations.trl_riding import PREFIX, RELIED_ON

# A continuous weight: a rule that chooses tokens would turn rounding into a step.
SMOOTH = Credit(
    answer=lambda text: [(len(text) // 2, len(text) // 2 + 4)], weighting=Weighting("raw")
)


class Recording:
    """Keeps what the loss was given: responses and their advantages."""

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        self.__dict__.setdefault("seen", []).append(
            (inputs["completion_ids"], inputs["advantages"])
        )
        return loss


class Recorded(Recording, FlowCreditMixin, GRPOTrainer):
    pass


class SortedOutside(Recording, LengthSortedMixin, FlowCreditMixin, GRPOTrainer):
    """The order of `flowtracer train`."""


class SortedInside(Recording, FlowCreditMixin, LengthSortedMixin, GRPOTrainer):
    pass


@pytest.fixture
def trained(embedded, tmp_path):
    """Trains a copy of a model and returns the trainer."""

    def train(forward, kind=Recorded, model=None, credit=SMOOTH, **options):
        trainer = grpo_trainer(
            kind,
            copy.deepcopy(model or embedded.model),
            embedded.tokenizer,
            tmp_path / "out",
            credit=credit,
            credit_forward=forward,
            **options,
        )
        trainer.train()
        return trainer

    return train


def parameters(trainer):
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])


def assert_same_step(ride, own, **tolerance):
    """Weighted advantages and parameters agree, and credit did something."""
    assert ride._rides and not own._rides
    for (ids, actual), (expected_ids, expected) in zip(ride.seen, own.seen, strict=True):
        assert torch.equal(ids, expected_ids) and actual.shape == ids.shape
        torch.testing.assert_close(actual, expected, **({"atol": 1e-5, "rtol": 1e-5} | tolerance))
    assert any(float(advantages.std(1).max()) > 0.1 for _, advantages in ride.seen)
    torch.testing.assert_close(parameters(ride), parameters(own), atol=2e-6, rtol=0)
    for a, b in zip(ride.state.log_history, own.state.log_history, strict=True):
        names = [name for name in b if name.startswith("credit/")]
        assert names == [name for name in a if name.startswith("credit/")]
        for name in set(names) - {"credit/seconds", "credit/ratio_of_step"}:
            assert a[name] == pytest.approx(b[name], abs=1e-5), name


CASES = {
    "as it is": {},
    "checkpointing": {"config": {"gradient_checkpointing": True}},
    "reentrant checkpointing": {
        "config": {
            "gradient_checkpointing": True,
            "gradient_checkpointing_kwargs": {"use_reentrant": True},
        }
    },
    "accumulation": {
        "config": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    },
    "iterations": {"config": {"num_iterations": 2, "max_steps": 3}},
    "sorted outside": {"kind": SortedOutside},
    "sorted inside": {"kind": SortedInside},
}


@pytest.mark.parametrize("case", CASES)
def test_a_step_is_that_of_a_pass_of_its_own(trained, case):
    assert_same_step(trained("ride", **CASES[case]), trained("own", **CASES[case]))


def test_automatically_it_rides_and_chooses_the_same_tokens(trained):
    ride, own = trained("auto", credit=Credit()), trained("own", credit=Credit())
    assert ride._rides
    assert torch.equal(parameters(ride), parameters(own))


@pytest.mark.parametrize(
    ("name", "implementation"), [("mistral", "eager"), ("mistral", "sdpa"), ("gemma2", "eager")]
)
def test_windows_and_soft_caps(trained, embedded, name, implementation):
    size = SIZE | {
        "vocab_size": len(embedded.tokenizer),
        "eos_token_id": embedded.tokenizer.eos_token_id,
        "pad_token_id": embedded.tokenizer.pad_token_id,
    }
    kind = {"mistral": MistralConfig, "gemma2": Gemma2Config}[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(kind(**size, **WINDOW))
    model.set_attn_implementation(implementation)
    assert_same_step(trained("ride", model=model), trained("own", model=model))


def test_lora_trains_its_adapter_the_same(trained):
    peft = pytest.importorskip("peft")
    adapter = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    runs = [
        trained(forward, peft_config=adapter, config={"gradient_checkpointing": True})
        for forward in ("ride", "own")
    ]
    assert_same_step(*runs)


def test_later_updates_keep_the_first_weights(trained):
    """Four micro-batches, each seen twice, with updates between."""
    trainer = trained(
        "ride",
        config={
            "per_device_train_batch_size": 4,
            "steps_per_generation": 4,
            "gradient_accumulation_steps": 2,
            "num_iterations": 2,
            "max_steps": 4,
        },
    )
    assert len(trainer.seen) == 8
    for first, second in zip(trainer.seen[:4], trainer.seen[4:], strict=True):
        assert torch.equal(first[1], second[1])
    logged = [row for row in trainer.state.log_history if "credit/seconds" in row]
    assert len(logged) == 1 and logged[0]["credit/responses"] > 8  # of all four


def test_a_batch_that_learns_nothing_is_not_observed(trained):
    trainer = trained("ride", reward=lambda completions, **_: [1.0] * len(completions))
    assert trainer.state.log_history[0]["credit/responses"] == 0
    assert bool((trainer.seen[0][1] == 0).all())


@pytest.mark.parametrize(
    ("credit", "told"),
    [
        (Credit(scorer="entropy"), "scorer 'entropy' reads more than mean attention"),
        (Credit(options=ScoreOptions(heads="near")), "heads 'near'"),
    ],
)
def test_what_cannot_ride_takes_a_pass_of_its_own_and_is_told_once(trained, credit, told):
    with pytest.warns(UserWarning, match="credit_forward is 'ride'") as caught:
        ride = trained("ride", credit=credit, config={"max_steps": 2})
    assert len([w for w in caught if told in str(w.message)]) == 1
    own = trained("own", credit=credit, config={"max_steps": 2})
    assert torch.equal(parameters(ride), parameters(own))


def test_batches_too_long_for_one_matrix_take_a_pass_of_their_own(trained):
    credit = Credit(answer=SMOOTH.answer, options=ScoreOptions(tile_above=16))
    trainer = trained("ride", credit=credit)
    assert trainer._rides and trainer.state.log_history[0]["credit/responses"] > 0


class EarlyReader(Recorded):
    """A loss that reads advantages before it runs the policy."""

    def _compute_loss(self, model, inputs):
        return super()._compute_loss(model, dict(inputs))


class TurnedRows(Recorded):
    """Runs the policy on rows in another order than the batch's."""

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, *args, **kwargs):
        outputs = super()._get_per_token_logps_and_entropies(
            model, input_ids.flip(0), attention_mask.flip(0), *args, **kwargs
        )
        return tuple(None if part is None else part.flip(0) for part in outputs)


def test_a_trainer_that_runs_other_rows_is_noticed_and_gets_the_same_credit(trained):
    with pytest.warns(UserWarning, match="did not show the attention of every row"):
        ride = trained("ride", kind=TurnedRows)
    own = trained("own", kind=TurnedRows)
    torch.testing.assert_close(ride.seen[0][1], own.seen[0][1], atol=1e-5, rtol=1e-5)


def test_a_loss_that_reads_advantages_first_is_noticed(trained):
    with pytest.warns(UserWarning, match="EarlyReader reads advantages before log-probabilities"):
        ride = trained("ride", kind=EarlyReader)
    own = trained("own", kind=EarlyReader)
    assert torch.equal(parameters(ride), parameters(own))


def test_what_is_relied_on_in_trl(trained):
    """Fails loudly when TRL's loss no longer runs the policy first, or copies its inputs."""
    method = GRPOTrainer._get_per_token_logps_and_entropies
    assert tuple(inspect.signature(method).parameters)[: len(RELIED_ON)] == RELIED_ON
    assert list(inspect.signature(GRPOTrainer._compute_loss).parameters) == [
        "self",
        "model",
        "inputs",
    ]
    trainer = trained("ride", config={"max_steps": 1})
    buffered = trainer._buffered_inputs[0]
    assert not any(name.startswith(PREFIX) for name in buffered), "TRL copies the loss's inputs"
    assert buffered["advantages"].ndim == 2, "TRL keeps advantages elsewhere for later updates"


def test_an_unknown_way_is_refused(embedded, tmp_path):
    with pytest.raises(ValueError, match="credit_forward is 'fast'; use 'auto' or 'own' or 'ride'"):
        grpo_trainer(
            FlowGRPOTrainer, embedded.model, embedded.tokenizer, tmp_path, credit_forward="fast"
        )

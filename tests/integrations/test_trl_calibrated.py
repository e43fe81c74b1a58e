"""Credit that checks itself, inside TRL's trainer."""

import copy
import warnings

import pytest
import torch

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from flowtracer.credit import Calibrated, Credit
from flowtracer.credit.calibrated import Difference, bounds
from flowtracer.integrations import trl_calibrated
from flowtracer.integrations.trl import FlowGRPOTrainer
from flowtracer.integrations.trl_calibrated import (
    STATE,
    normalised,
    parts_of_prompts,
    trained_parameters,
)
from flowtracer.tasks import load_task

TASK = load_task("countdown", split="train", limit=64)
ANSWER = "last-line"  # which responses that were cut off have
RULES = ("flow", "flow@end=bottom,emphasis=3", "position")


def calibrated(**changes):
    few = {"rules": RULES, "every": 2, "first": 1, "parts": 4, "coordinates": 4096}
    settings = few | changes
    return Credit(rule=Calibrated(**settings), answer=ANSWER)


def length(completions, **kwargs):
    """A reward with spread in every group, from short responses."""
    return [len(completion[0]["content"]) % 7 / 7 for completion in completions]


@pytest.fixture
def trainer(embedded, tmp_path):
    def make(
        credit=None, kind=FlowGRPOTrainer, peft_config=None, callbacks=None, own=False, **changes
    ):
        settings = {
            "output_dir": str(tmp_path / "out"), "per_device_train_batch_size": 12,
            "num_generations": 3, "max_completion_length": 20, "learning_rate": 1e-3, "max_steps": 4,
            "beta": 0.0, "loss_type": "grpo", "temperature": 1.0, "logging_steps": 1,
            "save_strategy": "no", "report_to": [], "use_cpu": True, "bf16": False,
            "disable_tqdm": True, "seed": 3,
        } | changes  # fmt: skip
        return kind(
            model=copy.deepcopy(embedded.model),
            processing_class=embedded.tokenizer,
            reward_funcs=length,
            args=GRPOConfig(**settings),
            train_dataset=TASK.dataset(),
            peft_config=peft_config,
            callbacks=callbacks,
            **({} if kind is GRPOTrainer else {"credit": credit or calibrated()}),
            **({"credit_forward": "own"} if own else {}),
        )

    return make


def parameters(trainer):
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])


def column(trainer, name):
    return [row[name] for row in trainer.state.log_history if name in row]


def choose(monkeypatch, rule):
    """Let every calibration find this rule better, whatever it measures; None for none of them."""

    def known(record, settings, *, number, looks):
        return [
            Difference(0.1, 0.05, 0.15) if name == rule else Difference(0.0, -1.0, 1.0)
            for name in settings.rules
        ]

    monkeypatch.setattr(trl_calibrated, "bounds", known)


def test_as_long_as_nothing_is_known_it_is_plain_grpo_bit_by_bit(trainer, monkeypatch):
    choose(monkeypatch, None)
    plain = trainer(kind=GRPOTrainer)
    plain.train()
    flow_trainer = trainer()
    flow_trainer.train()
    assert torch.equal(parameters(flow_trainer), parameters(plain))
    assert column(flow_trainer, "calibrated/share/uniform") == [1.0] * 4
    assert len(column(flow_trainer, "calibrated/alignment/flow")) == 2  # steps 1 and 3
    assert all(-2 < value < 2 for value in column(flow_trainer, "calibrated/alignment/position"))
    assert column(flow_trainer, "calibrated/failed") == [0.0, 0.0]
    assert column(flow_trainer, "calibrated/calibration_seconds")[0] > 0


def test_the_rule_in_use_is_that_rule(trainer, monkeypatch):
    choose(monkeypatch, "flow@end=bottom,emphasis=3")
    flow_trainer = trainer(calibrated(normalise=False), max_steps=2)
    flow_trainer.train()
    (credit,) = Calibrated(rules=RULES[1:2]).credits(ANSWER).values()
    other = trainer(credit=credit, max_steps=2, own=True)
    other.train()
    assert torch.equal(parameters(flow_trainer), parameters(other))
    assert column(flow_trainer, "calibrated/share/flow@end=bottom,emphasis=3") == [1.0, 1.0]
    assert column(flow_trainer, "credit/selected")[0] > 0.3


class Stop(TrainerCallback):
    """Ends training after a step, as a kill after the checkpoint would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


@pytest.mark.parametrize("choice", ["hard", "mixed"])
def test_a_run_that_goes_on_equals_one_that_was_not_interrupted(
    trainer, tmp_path, monkeypatch, choice
):
    """The checkpoint lies between two calibrations, of which the second one needs the first."""
    seen = []

    def by_what_was_measured(record, settings, *, number, looks):
        seen.append((number, record))
        return [
            Difference(0.1, 0.05 if name != "flow" else 0.05 + abs(record.means[1]), 0.9)
            for name in settings.rules
        ]

    monkeypatch.setattr(trl_calibrated, "bounds", by_what_was_measured)
    credit = calibrated(choice=choice)
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 1}
    whole = trainer(credit, **settings)
    whole.train()
    calls, seen[:] = list(seen), []
    part = trainer(credit, callbacks=[Stop(1)], output_dir=str(tmp_path / "part"), **settings)
    part.train()
    again = trainer(credit, output_dir=str(tmp_path / "part"), **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "part" / "checkpoint-1"))
    assert seen == calls and len(calls) == 2
    assert torch.equal(parameters(again), parameters(whole))
    kept = [run.state.stateful_callbacks[STATE] for run in (again, whole)]
    assert kept[0] == kept[1] and len(kept[0]["window"]) == 2 and kept[0]["batches"] == 4


def test_a_window_holds_the_parts_of_the_last_calibrations(trainer, monkeypatch):
    records = []

    def recorded(record, *args, **kwargs):
        records.append(record)
        return bounds(record, *args, **kwargs)

    monkeypatch.setattr(trl_calibrated, "bounds", recorded)
    flow_trainer = trainer(calibrated(window=2, first=3), max_steps=3)
    flow_trainer.train()
    state = flow_trainer.state.stateful_callbacks[STATE]
    counts = [each["parts"] for each in state["window"]]
    assert len(counts) == 2 and state["calibrations"] == 3
    assert records[-1].parts > max(counts)
    assert flow_trainer.calibration._looks() == 3


def test_gradient_accumulation_calibrates_once_a_generation(trainer):
    flow_trainer = trainer(
        per_device_train_batch_size=4, gradient_accumulation_steps=2, steps_per_generation=4,
        max_steps=4,
        num_generations=4,
    )  # fmt: skip
    flow_trainer.train()  # two generations of 16 rows, 4 in each of 4 passes
    state = flow_trainer.state.stateful_callbacks[STATE]
    assert state["batches"] == 2 and state["calibrations"] == 1
    assert flow_trainer.calibration._looks() == 1
    assert bool(torch.isfinite(parameters(flow_trainer)).all())


def test_an_adapter_is_what_gradients_are_taken_of(trainer):
    peft = pytest.importorskip("peft")
    adapter = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    flow_trainer = trainer(peft_config=adapter, max_steps=2)
    names = {id(weight): name for name, weight in flow_trainer.model.named_parameters()}
    chosen = trained_parameters(flow_trainer.model, 2)
    assert chosen and all("lora" in names[id(weight)] for weight in chosen)
    flow_trainer.train()
    assert flow_trainer.state.stateful_callbacks[STATE]["calibrations"] == 1
    assert any(column(flow_trainer, f"calibrated/alignment/{rule}") != [0.0] for rule in RULES)
    assert column(flow_trainer, "calibrated/failed") == [0.0]


def test_a_failed_calibration_means_uniform_weights_and_a_warning(trainer, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(trl_calibrated, "rule_gradients", fail)
    flow_trainer = trainer(max_steps=3)
    with pytest.warns(UserWarning, match=r"weights are uniform \(RuntimeError: out of memory\)"):
        flow_trainer.train()
    assert column(flow_trainer, "calibrated/failed") == [1.0, 1.0]
    assert column(flow_trainer, "calibrated/share/uniform") == [1.0] * 3


def test_a_batch_without_spread_is_not_measured(trainer):
    def always(completions, **kwargs):
        return [1.0] * len(completions)

    flow_trainer = trainer(max_steps=1)
    flow_trainer.reward_funcs = [always]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="a calibration failed")
        flow_trainer.train()
    assert flow_trainer.state.stateful_callbacks[STATE]["calibrations"] == 0


def test_layers_without_trained_parameters_are_refused(trainer):
    peft = pytest.importorskip("peft")
    adapter = peft.LoraConfig(
        r=4, target_modules=["q_proj"], layers_to_transform=[0], task_type="CAUSAL_LM"
    )
    with pytest.raises(ValueError, match="none of the last 1 layers has trained parameters"):
        trainer(peft_config=adapter)


def test_normalised_weights_have_mean_1_and_the_same_direction():
    weights = torch.tensor([[1.0, 3.0, 1.0], [1.0, 1.0, 1.0]])
    tokens = torch.tensor([[True, True, False], [True, True, True]])
    result = normalised(weights, tokens)
    assert float(result[tokens].mean()) == pytest.approx(1.0)
    assert float(result[0, 1] / result[1, 0]) == pytest.approx(3.0) and float(result[0, 2]) == 1.0
    assert torch.equal(normalised(weights, torch.zeros_like(tokens)), weights)


def test_responses_to_a_prompt_are_in_one_part(trainer):
    flow_trainer = trainer(max_steps=1)
    kept = []
    apply = flow_trainer.calibration.apply
    flow_trainer.calibration.apply = lambda batch, output: (
        kept.append(batch),
        apply(batch, output),
    )[1]
    flow_trainer.train()
    informative = torch.ones(12, dtype=torch.bool)
    informative[2] = False
    parts = parts_of_prompts(kept[0], informative, 3)
    assert sorted(torch.cat(parts).tolist()) == [row for row in range(12) if row != 2]
    assert [len(part) for part in parts] == [5, 3, 3]  # four prompts of three responses

"""Credit inside TRL's GRPO trainer, on the embedded model and real Countdown problems."""

import copy
import inspect

import pytest
import torch

trl = pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from datasets import Dataset  # noqa: E402
from helpers.trl_settings import IN_TESTS  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

from flowtracer.credit import Credit, ScoreOptions, Weighting  # noqa: E402
from flowtracer.integrations.trl import RELIED_ON, FlowGRPOTrainer  # noqa: E402
from flowtracer.regions import find_answer  # noqa: E402
from flowtracer.tasks.countdown import Problem, all_problems, is_solution  # noqa: E402


def accuracy(completions, numbers, target, **kwargs):
    rewards = []
    for completion, problem_numbers, wanted in zip(completions, numbers, target, strict=True):
        text = completion[0]["content"]
        spans = find_answer(text, "boxed")
        inside = text[spans[0].start : spans[0].stop] if spans else ""
        rewards.append(float(is_solution(inside, Problem(tuple(problem_numbers), wanted))))
    return rewards


def problems(count=64):
    chosen = [problem for problem in all_problems() if not problem.held_out][7::97][:count]
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": problem.prompt}],
                "numbers": list(problem.numbers),
                "target": problem.target,
            }
            for problem in chosen
        ]
    )


@pytest.fixture
def trainer(embedded, tmp_path):
    """Makes a trainer of a copy of the embedded model."""

    def make(kind=FlowGRPOTrainer, peft_config=None, credit=None, **changes):
        settings = {
            **IN_TESTS,
            "output_dir": str(tmp_path / "out"),
            "per_device_train_batch_size": 16,
            "num_generations": 4,
            "max_completion_length": 80,
            "learning_rate": 1e-3,
            "max_steps": 1,
            "beta": 0.0,
            "loss_type": "grpo",
            "temperature": 1.0,
        } | changes
        extra = {} if credit is None else {"credit": credit}
        return kind(
            model=copy.deepcopy(embedded.model),
            processing_class=embedded.tokenizer,
            reward_funcs=accuracy,
            args=GRPOConfig(**settings),
            train_dataset=problems(),
            eval_dataset=problems(8),
            peft_config=peft_config,
            **extra,
        )

    return make


def parameters(trainer):
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])


def test_what_is_relied_on_in_trl(trainer):
    """Fails loudly when TRL changes the one method, its dictionary or the shape its loss takes."""
    taken = inspect.signature(GRPOTrainer._generate_and_score_completions).parameters
    assert list(taken) == ["self", "inputs"], "TRL changed the method that credit overrides"
    plain = trainer(GRPOTrainer)
    plain.model.train()
    rows = [dict(row) for row in plain.train_dataset.select([0] * 4 + [1] * 4)]
    output = plain._generate_and_score_completions(rows)
    missing = [name for name in RELIED_ON if name not in output]
    assert not missing, f"TRL's generation no longer returns {missing}"
    prompts, completions = output["prompt_ids"], output["completion_ids"]
    assert output["advantages"].shape == (8,)
    assert prompts.shape == output["prompt_mask"].shape
    assert completions.shape == output["completion_mask"].shape
    assert bool(output["prompt_mask"][:, -1].all()), "prompts are no longer padded on the left"
    assert bool(output["completion_mask"][:, 0].all()), (
        "completions are no longer padded on the right"
    )
    assert "train" in plain._metrics


def by_hand(logps, old, advantages, weights, mask, epsilon):
    """Equation 5, token by token: 1/G sum_i 1/N_i sum_t w min(r A, clip(r) A), negated."""
    total = 0.0
    for row in range(len(logps)):
        held, count = 0.0, 0
        for position in range(logps.shape[1]):
            if not mask[row, position]:
                continue
            ratio = float((logps[row, position] - old[row, position]).exp())
            clipped = min(max(ratio, 1 - epsilon), 1 + epsilon)
            advantage = float(advantages[row])
            held += float(weights[row, position]) * min(ratio * advantage, clipped * advantage)
            count += 1
        total += held / count
    return -total / len(logps)


def test_the_loss_is_equation_5(trainer):
    """Positive and negative advantages, clipped and unclipped ratios."""
    flow_trainer = trainer()
    flow_trainer.model.train()
    flow_trainer.current_gradient_accumulation_steps = 1
    generator = torch.Generator().manual_seed(0)
    batch, width = 4, 12
    inputs = {
        "prompt_ids": torch.randint(5, 200, (batch, 6), generator=generator),
        "prompt_mask": torch.ones(batch, 6, dtype=torch.long),
        "completion_ids": torch.randint(5, 200, (batch, width), generator=generator),
        "completion_mask": torch.ones(batch, width, dtype=torch.long),
        "num_items_in_batch": torch.tensor(batch * width),
    }
    inputs["completion_mask"][1, 7:] = 0
    inputs["completion_mask"][3, 3:] = 0
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    logps = flow_trainer._get_per_token_logps_and_entropies(flow_trainer.model, ids, mask, width)[
        0
    ].detach()
    apart = torch.randn(batch, width, generator=generator) * 0.4
    inputs["old_per_token_logps"] = logps + apart
    advantages = torch.tensor([1.3, -0.8, -1.1, 0.6])
    weights = 1 + 0.5 * (torch.rand(batch, width, generator=generator) < 0.4)
    inputs["advantages"] = advantages[:, None] * weights
    clipped = (apart.neg().exp() - 1).abs() > 0.2
    assert 0.2 < float(clipped.float().mean()) < 0.9  # both cases are there
    expected = by_hand(
        logps,
        logps + apart,
        advantages,
        weights,
        inputs["completion_mask"],
        flow_trainer.epsilon_low,
    )
    assert float(flow_trainer._compute_loss(flow_trainer.model, inputs)) == pytest.approx(
        expected, rel=1e-5
    )


def test_emphasis_one_is_plain_grpo_bit_by_bit(trainer, monkeypatch):
    """Over 5 optimizer steps: with credit switched off, and with weights of 1 per token."""
    settings = {"max_steps": 5, "max_completion_length": 60}
    plain = trainer(GRPOTrainer, **settings)
    before = parameters(plain).clone()
    plain.train()
    assert not torch.equal(before, parameters(plain))
    off = trainer(credit=Credit(weighting=Weighting(emphasis=1.0)), **settings)
    off.train()
    assert torch.equal(parameters(off), parameters(plain))
    monkeypatch.setattr(Weighting, "neutral", False)
    weighed = trainer(credit=Credit(weighting=Weighting(emphasis=1.0)), **settings)
    weighed.train()
    assert weighed.state.log_history[0]["credit/selected"] > 0.3
    assert torch.equal(parameters(weighed), parameters(plain))


def test_credit_changes_the_update_and_is_logged(trainer):
    plain = trainer(GRPOTrainer)  # a trainer sets the seed when it is made
    plain.train()
    flow = trainer()
    flow.train()
    assert not torch.equal(parameters(plain), parameters(flow))
    logged = flow.state.log_history[0]
    assert 0.4 <= logged["credit/selected"] < 0.45
    assert logged["credit/mean_weight"] == pytest.approx(1 + 0.5 * logged["credit/selected"])
    assert 0 <= logged["credit/no_answer"] < 0.6
    assert 0.2 < logged["credit/concentration"] < 1 and logged["credit/seconds"] > 0
    assert 0 < logged["credit/gini"] < 0.2 and 0.9 < logged["credit/effective_tokens"] < 1


def test_steps_and_iterations_reuse_the_credit_of_their_batch(trainer):
    flow_trainer = trainer(
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        steps_per_generation=4,
        num_iterations=2,
        max_steps=6,
    )
    flow_trainer.train()
    counted = [
        row["credit/seconds"] for row in flow_trainer.state.log_history if "credit/seconds" in row
    ]
    assert len(counted) == 2  # 12 micro-steps and a generation every 8, whose first 4 are new
    assert bool(torch.isfinite(parameters(flow_trainer)).all())


def test_lora_with_gradient_checkpointing_trains_its_adapter_only(trainer):
    peft = pytest.importorskip("peft")
    adapter = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    flow_trainer = trainer(peft_config=adapter, gradient_checkpointing=True)
    before = {
        name: weight.detach().clone() for name, weight in flow_trainer.model.named_parameters()
    }
    flow_trainer.train()
    changed = {
        name
        for name, weight in flow_trainer.model.named_parameters()
        if not torch.equal(weight, before[name])
    }
    assert changed and all("lora" in name for name in changed)
    assert flow_trainer.state.log_history[0]["credit/selected"] > 0


def test_evaluation_is_left_alone(trainer):
    flow_trainer = trainer(num_generations_eval=4, per_device_eval_batch_size=8)
    measured = flow_trainer.evaluate()
    assert "eval_loss" in measured
    assert not any("credit" in key for key in measured)


def test_layers_that_the_model_lacks_are_refused(trainer):
    with pytest.raises(ValueError, match="layers: 20 does not exist"):
        trainer(credit=Credit(options=ScoreOptions(layers="20-30")))


def test_a_reward_without_spread_gets_no_credit_work(trainer):
    def always(completions, **kwargs):
        return [1.0] * len(completions)

    flow_trainer = trainer()
    flow_trainer.reward_funcs = [always]
    flow_trainer.train()
    assert flow_trainer.state.log_history[0]["credit/responses"] == 0
    assert flow_trainer.state.log_history[0]["credit/mean_weight"] == 1.0


def test_trying_the_loss_leaves_the_trainer_as_it_was(trainer):
    flow_trainer = trainer(loss_type="dapo", beta=0.1)
    assert not flow_trainer._metrics["train"] and not flow_trainer._metrics["eval"]


def test_most_responses_without_an_answer_are_warned_of_once(trainer):
    with pytest.warns(UserWarning, match="get no credit") as caught:
        trainer(credit=Credit(answer="tag"), max_steps=2).train()
    told = [str(warning.message) for warning in caught if "get no credit" in str(warning.message)]
    assert len(told) == 1
    assert told[0].startswith("100% of the responses have no answer by the rule 'tag'")
    assert "credit=Credit(answer=...)" in told[0]

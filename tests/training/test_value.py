"""Method `value`: Monte-Carlo credit in the place of the group's advantage."""

import copy

import pytest
import torch
from helpers.tiny_world import END, LIMIT, exact_value, tiny_loaded, tiny_task

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from trl import GRPOConfig

from flowtracer.credit.values import step_advantages
from flowtracer.tasks import load_task
from flowtracer.training.arguments import read_settings
from flowtracer.training.value import Policy, ValueArguments, ValueTrainer, value_advantages


def test_every_token_of_a_step_has_the_steps_credit():
    credit = torch.tensor([0.5, -0.25], dtype=torch.float64)
    assert step_advantages(credit, [1, 3], 5).tolist() == [0.0, 0.5, 0.5, -0.25, -0.25]


def test_advantages_are_those_of_exact_values():
    """V after less V before, by enumeration of every continuation of a tiny policy."""
    loaded, task = tiny_loaded(), tiny_task()
    example = task.examples[0]
    prompt = loaded.tokenizer(example.question)["input_ids"]
    responses = [[2, 3, END], [2, 3, 4], [2, END]]

    def grade(texts):
        words = [loaded.tokenizer.decode([i for i in ids if i != END]) for _, ids in texts]
        return [task.grade(text, example) for text in words]

    policy = Policy(loaded.model, 1.0, LIMIT, {END})
    settings = ValueArguments(value_continuations=4000, value_threshold=1.0)
    estimated, values = value_advantages(
        policy, [prompt] * 3, responses, grade, settings, seed=0
    )  # fmt: skip
    assert torch.equal(values[0][:2], values[1][:2])  # the same prefixes, drawn once
    for response, advantages in zip(responses, estimated, strict=True):
        after = [
            exact_value(loaded, task, example, prompt, response[:point])
            for point in range(len(response))
        ]
        after.append(grade([(0, response)])[0])
        expected = torch.tensor(after).diff()
        assert advantages.tolist() == pytest.approx(expected.tolist(), abs=0.04)


def test_a_seed_gives_the_same_advantages_again():
    loaded = tiny_loaded()

    def advantages(seed):
        policy = Policy(loaded.model, 1.0, LIMIT, {END})
        return value_advantages(
            policy,
            [[1, 1], [1]],
            [[2, 3, END], [4, END]],
            lambda texts: [float(2 in ids) for _, ids in texts],
            ValueArguments(value_continuations=3, value_threshold=1.0),
            seed=seed,
        )[0]

    first, again, other = advantages(0), advantages(0), advantages(1)
    assert all(torch.equal(row, other_row) for row, other_row in zip(first, again, strict=True))
    assert not all(torch.equal(row, other_row) for row, other_row in zip(first, other, strict=True))


@pytest.mark.parametrize("changes", [{"value_continuations": 0}, {"value_threshold": 0.0}])
def test_settings_without_meaning_are_refused(changes):
    with pytest.raises(ValueError, match="value_"):
        ValueArguments(**changes)


def test_the_command_line_knows_the_method():
    settings = read_settings(
        None,
        ["--method", "value", "--value_continuations", "4", "--use_cpu", "true", "--bf16", "false"],
    )
    assert settings.value.value_continuations == 4
    assert settings.credit.credit_of_run(answer="auto", seed=0) is None


def test_a_step_learns_from_values(embedded, tmp_path):
    task = load_task("countdown", split="train", limit=32)
    trainer = ValueTrainer(
        model=copy.deepcopy(embedded.model),
        processing_class=embedded.tokenizer,
        reward_funcs=task.reward,
        args=GRPOConfig(
            output_dir=str(tmp_path), per_device_train_batch_size=4, num_generations=4,
            gradient_accumulation_steps=2, max_completion_length=48, learning_rate=1e-3, max_steps=1,
            beta=0.0, loss_type="grpo", report_to=[], use_cpu=True, bf16=False, save_strategy="no",
            disable_tqdm=True, logging_steps=1,
        ),
        train_dataset=task.dataset(),
        values=ValueArguments(value_continuations=2),
    )  # fmt: skip
    before = torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])
    trainer.train()
    after = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    logged = trainer.state.log_history[0]
    assert not torch.equal(before, after) and bool(torch.isfinite(after).all())
    assert 0 <= logged["value/first"] <= 1 and 0 < logged["value/size"] < 1
    assert logged["value/prefixes"] >= 8

"""The gradient that the study takes is the one that a step in TRL takes."""

import copy

import pytest
import torch

trl = pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from trl import GRPOConfig  # noqa: E402

from flowtracer.credit import Credit, Selection, Weighting, structural_vocabulary  # noqa: E402
from flowtracer.credit.credit import token_credit  # noqa: E402
from flowtracer.gradients.backward import (  # noqa: E402
    chosen_parameters,
    rule_gradients,
    sampled_coordinates,
)
from flowtracer.gradients.objective import group_normalised, grpo_coefficients  # noqa: E402
from flowtracer.integrations.trl import FlowGRPOTrainer  # noqa: E402
from flowtracer.studies.gradient.rollouts import Group, batch_of  # noqa: E402
from flowtracer.tasks import load_task  # noqa: E402


def test_a_rules_gradient_is_that_of_trls_loss(embedded, tmp_path):
    task = load_task("countdown", split="train", limit=8)
    credit = Credit(selection=Selection(end="bottom"), weighting=Weighting("emphasis", 3.0))
    trainer = FlowGRPOTrainer(
        model=copy.deepcopy(embedded.model),
        processing_class=embedded.tokenizer,
        reward_funcs=task.reward,
        args=GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=32,
            num_generations=4,
            max_completion_length=80,
            beta=0.0,
            loss_type="grpo",
            temperature=1.0,
            report_to=[],
            use_cpu=True,
            bf16=False,
            seed=3,
        ),
        train_dataset=task.dataset(),
        credit=credit,
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    rows = [dict(trainer.train_dataset[number // 4]) for number in range(32)]
    inputs = trainer._generate_and_score_completions(rows)
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, inputs).backward()
    parameters = list(trainer.model.parameters())
    expected = -torch.cat([p.grad.reshape(-1) for p in parameters])

    def kept(name, row):
        return tuple(inputs[f"{name}_ids"][row][inputs[f"{name}_mask"][row].bool()].tolist())

    texts = embedded.tokenizer.batch_decode(
        [kept("completion", row) for row in range(32)], skip_special_tokens=True
    )
    groups = [
        Group(
            task.examples[number].id,
            kept("prompt", 4 * number),
            tuple(kept("completion", 4 * number + i) for i in range(4)),
            tuple(
                float(task.grade(texts[4 * number + i], task.examples[number])) for i in range(4)
            ),
        )
        for number in range(8)
    ]
    assert any(group.informative for group in groups)
    batch = batch_of(
        embedded,
        groups,
        answer=task.answer_rule,
        delimiters=structural_vocabulary(embedded.tokenizer),
    )
    advantages = group_normalised(batch.rewards, batch.groups).float()
    weights = token_credit(embedded.model, batch.scored, credit).weights
    coefficients = grpo_coefficients(advantages, weights, batch.scored.candidates)
    chosen = chosen_parameters(embedded.model, "all")
    coordinates = sampled_coordinates(chosen, 1 << 30, seed=0)
    gradient = rule_gradients(
        embedded.model, batch.scored, coefficients[None], chosen, coordinates
    )[0]
    assert float(torch.cosine_similarity(gradient, expected, dim=0)) > 0.99999
    torch.testing.assert_close(
        gradient, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
    )

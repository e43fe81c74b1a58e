"""Gradients of rules against one plain backward pass over everything."""

import pytest
import torch
from helpers.models import ARCHITECTURES, random_model

from flowtracer.gradients.backward import (
    chosen_parameters,
    rule_gradients,
    sampled_coordinates,
)
from flowtracer.gradients.cut import cut_forward
from flowtracer.scorers.batch import ScoreBatch


def made_batch():
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(3, 97, (6, 18), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    mask[1, -6:] = 0
    candidates = (torch.arange(18) >= 8)[None] & (mask > 0)
    question = ~candidates & (mask > 0)
    return ScoreBatch(ids, mask, question, candidates, candidates.float())


def plain_gradients(model, batch, coefficients, parameters):
    positions = (batch.attention_mask.cumsum(1) - 1).clamp(min=0)
    logits = model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=positions
    ).logits
    logs = logits[:, :-1].log_softmax(-1).gather(2, batch.input_ids[:, 1:, None])[..., 0]
    rows = []
    for rule in coefficients:
        weighted = torch.where(batch.candidates, rule, 0.0)[:, 1:] * logs
        parts = torch.autograd.grad(
            weighted.sum(), parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        rows.append(torch.cat([part.reshape(-1) for part in parts]))
    return torch.stack(rows)


@pytest.mark.parametrize("choice", ["all", "last:2", "last:6"])
@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
@pytest.mark.parametrize("most", [800, 100_000])
def test_every_rule_gets_its_gradient(name, choice, most):
    model, batch = random_model(name), made_batch()
    coefficients = torch.randn(
        3, *batch.input_ids.shape, generator=torch.Generator().manual_seed(1)
    )
    parameters = chosen_parameters(model, choice)
    coordinates = sampled_coordinates(parameters, 1 << 30, seed=0)
    gradients = rule_gradients(model, batch, coefficients, parameters, coordinates, most=most)
    expected = plain_gradients(model, batch, coefficients, parameters)
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(
        gradients, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max())
    )


@pytest.mark.parametrize("choice", ["last:1", "last:3"])
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_gives_each_rule_its_gradient(name, choice):
    """Also where two rules are sums of others, one rule is nearly another, and only part is drawn."""
    model, batch = random_model(name), made_batch()
    own = torch.randn(2, *batch.input_ids.shape, generator=torch.Generator().manual_seed(1))
    near = own[:1] + 1e-3 * torch.randn(own[:1].shape, generator=torch.Generator().manual_seed(2))
    coefficients = torch.cat([own, own.sum(0, keepdim=True), near, 0 * near, -2 * near])
    parameters = chosen_parameters(model, choice)
    coordinates = sampled_coordinates(parameters, 2000, seed=0)
    gradients = rule_gradients(model, batch, coefficients, parameters, coordinates)
    expected = plain_gradients(model, batch, coefficients, parameters)[:, coordinates]
    assert not bool(gradients[4].any())
    torch.testing.assert_close(
        gradients, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max())
    )


@pytest.mark.parametrize(("name", "cut"), [("qwen3", True), ("gemma3", True), ("gpt-oss", False)])
def test_a_layer_whose_experts_choose_their_tokens_is_not_cut(name, cut):
    model = random_model(name).requires_grad_(False)
    for parameter in chosen_parameters(model, "last:1"):
        parameter.requires_grad_()
    forward = cut_forward(model, made_batch())
    assert (forward is not None) == cut
    assert forward is None or len(forward.calls) == (4 if name == "qwen3" else 6)


def test_lora_adapters_get_their_gradient():
    peft = pytest.importorskip("peft", reason="needs the extra flowtracer[train]")
    config = peft.LoraConfig(target_modules=["q_proj", "down_proj", "up_proj"], r=2)
    model, batch = peft.get_peft_model(random_model("qwen3"), config).eval(), made_batch()
    parameters = chosen_parameters(model, "lora")
    with torch.no_grad():
        for parameter in parameters:
            parameter.normal_(0, 0.3)
    coefficients = torch.randn(
        2, *batch.input_ids.shape, generator=torch.Generator().manual_seed(1)
    )
    coordinates = sampled_coordinates(parameters, 1 << 30, seed=0)
    gradients = rule_gradients(model, batch, coefficients, parameters, coordinates)
    expected = plain_gradients(model, batch, coefficients, parameters)
    torch.testing.assert_close(
        gradients, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max())
    )


def test_the_model_is_left_as_it_was():
    model, batch = random_model("llama"), made_batch()
    model.lm_head.weight.requires_grad_(False)
    parameters = chosen_parameters(model, "last:1")
    rule_gradients(
        model,
        batch,
        torch.ones(1, *batch.input_ids.shape),
        parameters,
        sampled_coordinates(parameters, 10, seed=0),
    )
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["lm_head.weight"]
    assert all(p.grad is None for p in model.parameters())


def test_sampled_coordinates_are_some_of_all():
    model = random_model("qwen3")
    parameters = chosen_parameters(model, "last:1")
    total = sum(p.numel() for p in parameters)
    some = sampled_coordinates(parameters, 500, seed=3)
    assert len(some) == 500 and bool((some[1:] >= some[:-1]).all()) and int(some.max()) < total
    assert torch.equal(some, sampled_coordinates(parameters, 500, seed=3))
    assert torch.equal(sampled_coordinates(parameters, total, seed=3), torch.arange(total))


@pytest.mark.parametrize("choice", ["last:0", "last:7", "last:x", "lora", "some"])
def test_parameters_that_the_model_does_not_have_are_refused(choice):
    with pytest.raises(ValueError, match=r"^parameters is '.*use"):
        chosen_parameters(random_model("qwen3"), choice)

"""What scoring leaves behind: nothing. How often the model runs, and which wrappers it may wear."""

import pytest
import torch
from helpers.models import SIZE, random_model, texts
from helpers.scores import batch_of, long_batch
from transformers import AutoModelForCausalLM, LlamaConfig

from flowtracer.scorers import SCORERS, score_tokens


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_the_model_is_what_it_was_afterwards(mode):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZE, attention_dropout=0.5)).train()
    model.gradient_checkpointing_enable()
    model.model.layers[2].eval()
    model.model.layers[1].mlp.up_proj.weight.requires_grad_(False)
    batch = long_batch()
    model(input_ids=batch.input_ids, labels=batch.input_ids).loss.backward()
    before = snapshot(model)
    with mode():
        first = score_tokens(model, batch, list(SCORERS))
        second = score_tokens(model, batch, list(SCORERS))
        assert torch.is_grad_enabled() == (mode is torch.enable_grad)
    for name, scores in first.items():
        assert torch.equal(scores, second[name]), name  # dropout took no part
        assert not scores.requires_grad, name
    for now, then in zip(snapshot(model), before, strict=True):
        assert now == then
    assert "forward" not in model.model.__dict__


def snapshot(model):
    gradients = [parameter.grad for parameter in model.parameters()]
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [
            None if gradient is None else (id(gradient), float(gradient.double().sum()))
            for gradient in gradients
        ],
        [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()],
        model.config._attn_implementation,
    )


def test_the_model_is_what_it_was_after_an_exception():
    model = random_model("llama").train()
    batch = batch_of(texts("none")[0] + 10_000)
    before = snapshot(model)
    for name in SCORERS:
        if SCORERS[name].needs:
            with pytest.raises(IndexError):
                score_tokens(model, batch, [name])
            assert snapshot(model) == before
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("names", "first", "last"),
    [
        (["position", "random", "delimiters"], 0, 0),
        (["flow"], 1, 0),
        (["flow", "attention_max", "answer_attention", "rollout"], 1, 0),
        (["waad", "fai", "rhythm"], 1, 0),
        (["flow", "rhythm"], 1, 0),
        (["correlation"], 1, 0),
        (["correlation", "aligned", "entropy"], 1, 1),
        (["gradient", "gradient_input"], 1, 1),
        (list(SCORERS), 3, 2),
    ],
)
def test_forward_passes_are_shared_and_cut_short(names, first, last):
    model = random_model("qwen2")
    runs = {0: 0, 5: 0}
    for number in runs:

        def count(*args, number=number):
            runs[number] += 1

        model.model.layers[number].register_forward_hook(count)
    score_tokens(model, long_batch(), names)
    assert runs == {0: first, 5: last}


def test_peft_adapters_take_part():
    peft = pytest.importorskip("peft")
    batch = long_batch()
    asking = [name for name in SCORERS if SCORERS[name].needs]
    plain = score_tokens(random_model("llama"), batch, asking)
    config = peft.LoraConfig(target_modules=["q_proj", "up_proj"], init_lora_weights=False, r=4)
    adapted = peft.get_peft_model(random_model("llama"), config).train()
    before = [parameter.requires_grad for parameter in adapted.parameters()]
    scores = score_tokens(adapted, batch, asking)
    assert [parameter.requires_grad for parameter in adapted.parameters()] == before
    merged = score_tokens(adapted.merge_and_unload(), batch, asking)
    for name in asking:
        slack = 1e-3 * float(merged[name].max())
        torch.testing.assert_close(scores[name], merged[name], rtol=1e-2, atol=slack)
        assert not torch.allclose(scores[name], plain[name], rtol=1e-3), name


def test_compiled_models_are_run_eagerly(model):
    batch = long_batch()
    compiled = torch.compile(model, backend="eager")
    expected = score_tokens(model, batch, list(SCORERS))
    for name, scores in score_tokens(compiled, batch, list(SCORERS)).items():
        torch.testing.assert_close(scores, expected[name])

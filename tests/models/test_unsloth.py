"""Unsloth is refused before training, by the marks that it leaves on classes."""

import importlib.util
from pathlib import Path

import pytest
from helpers.models import random_model, texts

from flowtracer.attention import mean_attention
from flowtracer.credit import Credit
from flowtracer.models.decoder import AttentionCaptureError
from flowtracer.models.unsloth import check_model, check_trainer


def defined_in(module, thing):
    thing.__module__ = module
    return thing


def fast_forward(self, hidden_states, *args, **kwargs):
    """Stands for an attention that no function of transformers is asked for."""
    return hidden_states, None


@pytest.fixture
def patched(monkeypatch):
    """A model whose attention was replaced as `FastLanguageModel` does it, for the whole family."""
    model = random_model("qwen3")
    attention = type(model.model.layers[0].self_attn)
    fast = defined_in("unsloth.models.qwen3", fast_forward)
    monkeypatch.setattr(attention, "forward", fast)
    return model


@pytest.fixture
def compiled():
    """A model of a family for which unsloth_zoo generates code."""
    model = random_model("phi3")
    for layer in model.model.layers:
        own = type(layer.mlp)
        layer.mlp.__class__ = defined_in(
            "unsloth_compiled_module_phi3", type(own.__name__, (own,), {})
        )
    return model


def test_a_model_with_replaced_parts_is_refused_with_the_reason(patched, compiled):
    for model, name in ((patched, "Qwen3Attention"), (compiled, "Phi3MLP")):
        with pytest.raises(AttentionCaptureError, match=f"Unsloth has replaced {name}") as refused:
            Credit().check_model(model)
        assert "\n" not in str(refused.value) and "without importing unsloth" in str(refused.value)


def test_any_other_model_is_not():
    check_model(random_model("llama"))


def test_capture_names_unsloth_where_it_finds_no_attention(patched):
    ids, mask = texts("none")
    with pytest.raises(AttentionCaptureError, match="Unsloth has replaced Qwen3Attention"):
        mean_attention(patched, ids, mask, layers=[2])


def test_a_generated_trainer_is_refused_before_it_is_made():
    trl = pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
    from flowtracer.integrations.trl import FlowCreditMixin, FlowGRPOTrainer

    # In a generated module of that name, put in the place of `trl.GRPOTrainer`.
    own = defined_in("UnslothGRPOTrainer", type("_UnslothGRPOTrainer", (trl.GRPOTrainer,), {}))
    generated = defined_in("UnslothGRPOTrainer", type("UnslothGRPOTrainer", (own,), {}))
    trainer = type("Trainer", (FlowCreditMixin, generated), {})
    with pytest.raises(ValueError, match="UnslothGRPOTrainer is Unsloth's trainer") as refused:
        trainer()  # without arguments: nothing was looked at before
    assert "\n" not in str(refused.value)
    check_trainer(FlowGRPOTrainer)


def test_the_marks_are_those_of_the_package():
    """Needs the packages' files only; importing them would patch what other tests use."""
    specs = [importlib.util.find_spec(name) for name in ("unsloth", "unsloth_zoo")]
    if None in specs:
        pytest.skip("unsloth and unsloth_zoo are not installed")
    main, zoo = (Path(spec.submodule_search_locations[0]) for spec in specs)
    trainers = (main / "models/rl.py").read_text()
    assert "class Unsloth{RLTrainer_name}(_Unsloth{RLTrainer_name}):" in trainers
    assert 'create_new_function(\n        f"Unsloth{RLTrainer_name}",' in trainers
    assert "trl.{RLTrainer_name} = created_module.Unsloth{RLTrainer_name}" in trainers
    for family in ("llama", "qwen3"):
        text = (main / f"models/{family}.py").read_text()
        name = family.capitalize()
        assert f"{name}Attention.forward = {name}Attention_fast_forward" in text
    assert 'COMBINED_UNSLOTH_NAME = "unsloth_compiled_module"' in (zoo / "compiler.py").read_text()
    assert "def left_pack_padding" in (zoo / "rl_replacements.py").read_text()

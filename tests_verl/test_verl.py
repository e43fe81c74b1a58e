"""The plug-in for verl, in an environment that has verl: see docs/verl.md."""

import inspect
import os
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("verl", reason="needs verl; run `make test-verl`")

from omegaconf import OmegaConf
from tensordict import TensorDict
from verl.trainer.ppo.v1 import trainer_base
from verl.utils import tensordict_utils
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.engine.utils import postprocess_batch_func

from flowtracer.credit import Credit, apply_credit, score_batch, token_credit
from flowtracer.integrations.verl import RELIED_ON
from flowtracer.integrations.verl.settings import read_credit
from flowtracer.integrations.verl.weights import nested_weights, summary, weighted
from flowtracer.models import load

plug = import_module("flowtracer.integrations.verl.install")
FIELD, SECTION, install = plug.FIELD, plug.SECTION, plug.install

PROMPTS = ["<|user|>Make 33 from 3, 7, 18.<|end|><|assistant|>",
           "<|user|>Make 4 from 16, 20, 24.<|end|><|assistant|>"]  # fmt: skip
RESPONSES = ["18 + 7 = 25, 25 + 3 = 28, not 33.\n18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}",
             "20 - 16 = 4, not yet.\n"]  # fmt: skip


@pytest.fixture(scope="session")
def loaded():
    return load("embedded", dtype="float32", device="cpu")


def jagged(rows):
    return torch.nested.as_nested_tensor([torch.tensor(row) for row in rows], layout=torch.jagged)


@pytest.fixture(scope="session")
def batch(loaded):
    """A micro batch as verl's agent loop makes it; the first response has tool output in it."""
    encode = loaded.tokenizer
    asked = [encode(one, add_special_tokens=False)["input_ids"] for one in PROMPTS]
    given = [encode(one, add_special_tokens=False)["input_ids"] for one in RESPONSES]
    masks = [[1] * len(one) for one in given]
    masks[0][2:5] = [0, 0, 0]
    ids = [a + g for a, g in zip(asked, given, strict=True)]
    fields = {
        "input_ids": jagged(ids),
        "position_ids": jagged([list(range(len(one))) for one in ids]),
        "prompts": jagged(asked),
        "responses": jagged(given),
        "response_mask": jagged(masks),
        "loss_mask": jagged(masks),
    }
    data = TensorDict(fields, batch_size=[2])
    flags = {
        "use_remove_padding": False,
        "use_dynamic_bsz": False,
        "temperature": 1.0,
        "calculate_entropy": False,
    }
    tensordict_utils.assign_non_tensor(data, **flags)
    return data


def alone(loaded, batch, row, credit):
    """Weights of one row by the package's own way, without padding."""
    prompt, response = batch["prompts"].unbind()[row], batch["responses"].unbind()[row]
    parts = score_batch(
        loaded.tokenizer,
        prompt_ids=prompt[None],
        prompt_mask=torch.ones_like(prompt)[None],
        completion_ids=response[None],
        completion_mask=torch.ones_like(response)[None],
        tool_mask=batch["response_mask"].unbind()[row][None],
        answer=credit.answer,
    )
    return token_credit(loaded.model, parts, credit).weights[0]


def test_what_is_relied_on_in_verl():
    for module, name, attribute in RELIED_ON:
        found = getattr(import_module(module), name)
        assert attribute is None or hasattr(found, attribute), (module, name, attribute)
    step = inspect.signature(inspect.unwrap(FSDPEngineWithLMHead.forward_step))
    assert list(step.parameters) == ["self", "micro_batch", "loss_function", "forward_only"]
    for name in ("_compute_old_log_prob", "_compute_advantage"):
        method = inspect.unwrap(getattr(trainer_base.PPOTrainer, name))
        assert list(inspect.signature(method).parameters) == ["self", "batch", "metrics"]
    source = inspect.getsource(inspect.unwrap(trainer_base.PPOTrainer._compute_advantage))
    assert '"advantages"' in source and "kv_batch_put" in source
    source = inspect.getsource(inspect.unwrap(trainer_base.PPOTrainer._compute_old_log_prob))
    assert "self.actor_rollout_wg.compute_log_prob(batch)" in source and "bypass_mode" in source
    source = inspect.getsource(inspect.unwrap(FSDPEngineWithLMHead.forward_step))
    assert '"model_output": detach_tree(model_output)' in source


def test_installing_twice_wraps_once():
    before = FSDPEngineWithLMHead.forward_step
    install()
    assert FSDPEngineWithLMHead.forward_step is before and before._flowtracer


def test_verl_loads_the_plug_in_from_its_environment_variable():
    code = (
        "import verl; from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead as E; "
        "assert E.forward_step._flowtracer; print('installed')"
    )
    environment = {"VERL_USE_EXTERNAL_MODULES": "flowtracer.integrations.verl"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True
    )
    assert ended.returncode == 0 and "installed" in ended.stdout, ended.stderr[-2000:]


@pytest.mark.parametrize("credit", [Credit(), Credit(scorer="answer_attention", layers="all")])
def test_weights_of_jagged_rows_are_those_of_each_row_alone(loaded, batch, credit):
    found = nested_weights(
        loaded.model, loaded.tokenizer, batch["input_ids"], batch["response_mask"], credit
    )
    assert found.offsets().tolist() == batch["input_ids"].offsets().tolist()
    for row, weights in enumerate(found.unbind()):
        assert torch.equal(weights, alone(loaded, batch, row, credit))
    first, second = found.unbind()
    assert set(first.tolist()) == {1.0, 1.5} and set(second.tolist()) == {1.0}  # no answer there
    start = len(batch["prompts"].unbind()[0])
    assert first[:start].eq(1).all() and first[start + 2 : start + 5].eq(1).all()


def test_advantages_are_weighed_without_verls_shift(loaded, batch):
    weights = nested_weights(
        loaded.model, loaded.tokenizer, batch["input_ids"], batch["response_mask"], Credit()
    )
    mask = batch["response_mask"]
    advantages = torch.nested.as_nested_tensor(
        [torch.full((len(one),), -2.0) for one in mask.unbind()], layout=torch.jagged
    )
    found = weighted(advantages, weights, mask)
    for row, result in enumerate(found.unbind()):
        own = weights.unbind()[row][-len(result) :]
        expected = apply_credit(torch.tensor([-2.0]), own[None], mask.unbind()[row][None])[0]
        assert torch.equal(result, expected)
    assert {-3.0, -2.0} == set(found.unbind()[0].tolist())
    logged = summary(weights, mask)
    assert 0 < logged["credit/selected"] < 0.4 and logged["credit/no_credit"] == 0.5


def engine_of(loaded):
    """The FSDP engine's own forward step on this model; what is missing is its wrapping in FSDP."""
    engine = FSDPEngineWithLMHead.__new__(FSDPEngineWithLMHead)
    engine.module = loaded.model
    engine.use_ulysses_sp = False
    engine._autocast_dtype = torch.float32
    engine.pad_to_length = None
    engine.engine_config = SimpleNamespace(
        entropy_checkpointing=False, entropy_from_logits_with_chunking=False
    )
    engine.model_config = SimpleNamespace(tokenizer=loaded.tokenizer)
    return engine


@pytest.mark.parametrize("packed", [True, False])
def test_the_engines_forward_step_gives_weights_beside_log_probs(
    loaded, batch, packed, monkeypatch
):
    engine = engine_of(loaded)
    module = import_module("verl.workers.engine.fsdp.transformer_impl")
    for name in ("get_device_id", "get_device_name"):  # verl takes CUDA for granted
        monkeypatch.setattr(module, name, lambda: "cpu")
    data = batch.clone()
    tensordict_utils.assign_non_tensor(data, use_remove_padding=packed)
    _, plain = engine.forward_step(data, None, True)
    assert FIELD not in plain["model_output"]
    asked = data.clone()
    tensordict_utils.assign_non_tensor(asked, **{SECTION: {"emphasis": 2.0}})
    _, output = engine.forward_step(asked, None, True)
    assert torch.equal(
        output["model_output"]["log_probs"].values(), plain["model_output"]["log_probs"].values()
    )
    found = output["model_output"][FIELD]
    for row, weights in enumerate(found.unbind()):
        assert torch.equal(weights, alone(loaded, batch, row, read_credit({"emphasis": 2.0})))
    joined = postprocess_batch_func([output, output], None, data)["model_output"][FIELD]
    assert len(joined.unbind()) == 4
    engine.use_ulysses_sp = True
    with pytest.raises((ValueError, AttributeError), match=r"Ulysses|ulysses"):
        engine.forward_step(asked, None, True)


class Store:
    """A stand-in for the transfer queue: fields of one batch, by name."""

    def __init__(self, fields):
        self.fields = dict(fields)

    def kv_batch_get(self, *, keys, partition_id, select_fields):
        found = {name: self.fields[name] for name in select_fields if name in self.fields}
        return TensorDict(found, batch_size=[len(keys)])

    def kv_batch_put(self, *, keys, partition_id, fields):
        self.fields.update({name: fields[name] for name in fields.keys()})  # noqa: SIM118
        return Meta(keys)


class Meta:
    def __init__(self, keys):
        self.keys, self.partition_id, self.extra_info = keys, "train", {}

    def __len__(self):
        return len(self.keys)


def trainer_of(section, workers):
    config = {
        "algorithm": {"rollout_correction": None},
        "actor_rollout_ref": {"rollout": {"temperature": 1.0}},
    }
    whole = OmegaConf.create(config | ({} if section is None else {"flowtracer": section}))
    return SimpleNamespace(config=whole, actor_rollout_wg=workers)


@pytest.mark.parametrize("section", [None, {"emphasis": 1.5}, {"emphasis": 1.0}])
def test_the_trainer_asks_for_weights_and_applies_them_last(loaded, batch, section, monkeypatch):
    mask = batch["response_mask"]
    plain = torch.nested.as_nested_tensor(
        [torch.full((len(one),), 3.0) for one in mask.unbind()], layout=torch.jagged
    )
    store = Store({"response_mask": mask})
    monkeypatch.setattr(trainer_base, "tq", store)
    asked = []

    class Workers:
        def compute_log_prob(self, meta):
            asked.append(meta.extra_info.get(SECTION))
            if meta.extra_info.get(SECTION) is not None:
                store.fields[FIELD] = nested_weights(
                    loaded.model, loaded.tokenizer, batch["input_ids"], mask,
                    read_credit(meta.extra_info[SECTION]),
                )  # fmt: skip
            return meta

    trainer = trainer_of(section, Workers())
    # In place of verl's own methods, which need a cluster: what they do to the batch.

    def compute(self, meta, metrics):
        self.actor_rollout_wg.compute_log_prob(meta)
        return meta

    def advantage(self, meta, metrics):
        store.fields["advantages"] = plain
        return meta

    metrics = {}
    meta = plug._asking_for_weights(compute)(trainer, Meta(["a", "b"]), metrics)
    assert SECTION not in meta.extra_info  # the next pass, of the reference, gives no weights
    plug._weighing(advantage)(trainer, meta, metrics)
    found = store.fields["advantages"]
    if section is None:
        assert asked == [None] and found is plain and metrics == {}
    elif section["emphasis"] == 1.0:
        assert torch.equal(found.values(), plain.values())
        assert metrics["credit/mean_weight"] == 1.0
    else:
        assert set(found.unbind()[0].tolist()) == {3.0, 4.5}
        assert metrics["credit/mean_weight"] > 1.0 and asked == [{"emphasis": 1.5}]


def test_bypassed_log_probs_are_asked_for_all_the_same(loaded):
    calls = []

    class Workers:
        def compute_log_prob(self, meta):
            calls.append(dict(meta.extra_info))

    trainer = trainer_of({"scorer": "flow"}, Workers())
    trainer.config.algorithm.rollout_correction = {"bypass_mode": True}
    meta = plug._asking_for_weights(lambda self, meta, metrics: meta)(trainer, Meta(["a"]), {})
    assert calls[0][SECTION] == {"scorer": "flow"} and calls[0]["compute_loss"] is False
    assert SECTION not in meta.extra_info


def test_mistakes_are_seen(monkeypatch):
    with pytest.raises(ValueError, match=r"flowtracer\.emphasys is unknown"):
        read_credit({"emphasys": 2})
    trainer = trainer_of({"scorer": "sorcery"}, None)
    with pytest.raises(ValueError, match="scorer 'sorcery' is unknown"):
        plug._asking_for_weights(None)(trainer, Meta(["a"]), {})
    store = Store({"advantages": jagged([[1.0]]), "response_mask": jagged([[1]])})
    monkeypatch.setattr(trainer_base, "tq", store)
    with pytest.raises(ValueError, match="no weights came back"):
        plug._weighing(lambda self, meta, metrics: meta)(trainer_of({}, None), Meta(["a"]), {})

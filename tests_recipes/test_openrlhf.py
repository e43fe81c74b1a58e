"""The recipe for OpenRLHF on its own experience, by its own advantages, without Ray's actors."""

import ast
import importlib.util
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import recipe

ray = pytest.importorskip("ray", reason="ray is not installed; `make test-recipes` does that")
if importlib.util.find_spec("openrlhf") is None:
    pytest.skip("OpenRLHF is not installed; `make test-recipes` does that", allow_module_level=True)
SOURCE = Path(importlib.util.find_spec("openrlhf").submodule_search_locations[0])


class Policy:
    """Stands for the actor that holds DeepSpeed's engine."""


class Trainer:
    """Stands for OpenRLHF's trainer, which needs vLLM."""


@pytest.fixture
def modules(monkeypatch):
    """OpenRLHF's own experience and its maker; stand-ins for modules that need CUDA or vLLM."""
    from transformers import PreTrainedModel  # noqa: F401, looks for DeepSpeed by itself

    def bare(name, **values):
        module = types.ModuleType(name)
        module.__path__ = [
            str(SOURCE.joinpath(*name.split(".")[1:]))
        ]  # its own `__init__` is not run
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)

    before = set(sys.modules)
    bare("deepspeed")
    for name in ("models", "utils", "trainer", "trainer.ray", "trainer.ppo_utils"):
        bare(f"openrlhf.{name}")
    bare("openrlhf.trainer.ray.launcher", RayActorGroup=object)
    bare("openrlhf.trainer.ray.ppo_actor", PolicyModelActor=ray.remote(Policy))
    bare("openrlhf.trainer.ppo_trainer", PPOTrainer=ray.remote(Trainer), RemoteExperienceMaker=None)
    names = {"__name__": "recipe"}
    exec(recipe("OpenRLHF"), names)
    monkeypatch.setattr(ray, "get", lambda refs: refs)
    yield names
    for name in set(sys.modules) - before:
        if name.startswith("openrlhf"):
            monkeypatch.delitem(sys.modules, name)


def experience(modules, rows, start, count):
    """A batch as its maker has it: rows of different lengths, the action's mask one column shorter."""
    from openrlhf.trainer.ppo_utils.experience import Experience

    prompt, responses = rows
    responses = responses[start : start + count]
    length = len(prompt) + max(map(len, responses))
    sequences = torch.zeros(count, length, dtype=torch.long)
    attention, action = torch.zeros_like(sequences), torch.zeros_like(sequences)
    for row, response in enumerate(responses):
        stop = len(prompt) + len(response)
        sequences[row, :stop] = torch.tensor(prompt + response)
        attention[row, :stop], action[row, len(prompt) : stop] = 1, 1
    return Experience(
        sequences=sequences,
        attention_mask=attention,
        action_mask=action[:, 1:],
        kl=torch.zeros(count, length - 1),
        rewards=torch.tensor([1.0, 0.0, 0.25][start : start + count]),
        index=list(range(start, start + count)),
        info={},
    )


@pytest.fixture
def maker(modules, embedded):
    """The recipe's maker with one actor, which is the recipe's too, in this process."""
    actor = modules["FlowPolicyActor"].__ray_actor_class__()
    actor.actor = SimpleNamespace(model=SimpleNamespace(module=embedded.model))
    actor.tokenizer = embedded.tokenizer

    class Group:
        def async_run_method_batch(self, method_name, **lists):
            calls = [
                dict(zip(lists, values, strict=True))
                for values in zip(*lists.values(), strict=True)
            ]
            return [[getattr(actor, method_name)(**one) for one in calls]]

    advantage = SimpleNamespace(estimator="group_norm", gamma=1.0, lambd=1.0, no_std_norm=False)
    maker = object.__new__(modules["FlowExperienceMaker"])
    maker.actor_model_group, maker.advantage_estimator = Group(), "group_norm"
    maker.kl_ctl = SimpleNamespace(value=0.0)
    maker.args = SimpleNamespace(
        rollout=SimpleNamespace(n_samples_per_prompt=3),
        reward=SimpleNamespace(
            clip_range=None, overlong_buffer_len=None, stop_properly_penalty_coef=None
        ),
        algo=SimpleNamespace(advantage=advantage),
        ds=SimpleNamespace(ring_attn_size=1, tensor_parallel_size=1),
    )
    maker.strategy = SimpleNamespace(args=maker.args)
    return maker


def test_each_actions_advantage_is_multiplied_by_its_weight(modules, maker, rows, expected):
    batches = [experience(modules, rows, 0, 2), experience(modules, rows, 2, 1)]
    found = maker.compute_advantages_and_returns(batches)
    rewards = torch.tensor([1.0, 0.0, 0.25])
    advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-9)
    number = 0
    for batch in found:
        for row, mask in zip(batch.advantages, batch.action_mask.bool(), strict=True):
            torch.testing.assert_close(row[mask], advantages[number] * expected[number])
            number += 1
    assert number == 3 and not torch.equal(found[0].advantages, found[0].returns)


def definitions(path):
    return {
        n.name: n for n in ast.walk(ast.parse((SOURCE / path).read_text())) if hasattr(n, "name")
    }


def test_the_names_that_are_replaced_are_openrlhfs():
    trainer = definitions("trainer/ppo_trainer.py")
    assert [ast.unparse(one) for one in trainer["PPOTrainer"].decorator_list] == ["ray.remote"]
    assert (
        "self.experience_maker = RemoteExperienceMaker("
        in (SOURCE / "trainer/ppo_trainer.py").read_text()
    )
    actor = definitions("trainer/ray/ppo_actor.py")
    assert [ast.unparse(one) for one in actor["PolicyModelActor"].decorator_list] == [
        "ray.remote(num_gpus=1)"
    ]
    command = (SOURCE / "cli/train_ppo_ray.py").read_text()
    assert "from openrlhf.trainer.ray.ppo_actor import PolicyModelActor" in command
    assert "from openrlhf.trainer.ppo_trainer import PPOTrainer" in command
    group = definitions("trainer/ray/launcher.py")["async_run_method_batch"]
    assert [one.arg for one in group.args.args] == ["self", "method_name"] and group.args.kwarg
    assert "log_probs[:, -action_mask.shape[1] :]" in (SOURCE / "models/actor.py").read_text()

"""What the plug-in relies on in verl, each thing by name; fails loudly when a later verl changes it."""

import inspect
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
import ray
import torch
import transformers
from conftest import nested
from verl.single_controller.base.decorator import MAGIC_ATTR
from verl.trainer import main_ppo
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1 import PPOTrainer, PPOTrainerSync, agent_loop_tq, trainer_base
from verl.utils import tensordict_utils as tu
from verl.workers.engine.fsdp.transformer_impl import FSDPEngine, FSDPEngineWithLMHead
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker
from verl.workers.utils.padding import response_to_nested

from flowtracer.integrations.verl.launch import FlowTaskRunner
from flowtracer.integrations.verl.trainer import ACTOR_ROLES, FlowPPOTrainerSync
from flowtracer.integrations.verl.weights import FIELDS, jagged
from flowtracer.integrations.verl.worker import FlowActorWorker


def parameters(function):
    """Names of a function's parameters, without the one that Ray adds to methods of its actors."""
    return [name for name in inspect.signature(function).parameters if name != "_ray_trace_ctx"]


def source(function):
    return inspect.getsource(function)


def test_the_versions_are_those_of_the_requirements():
    assert version("verl").startswith("0.9.") and transformers.__version__.startswith("5.10.")


def test_the_entry_point_takes_another_task_runner():
    assert parameters(main_ppo.run_ppo) == ["config", "task_runner_class"]
    runner = main_ppo.TaskRunnerV1.__ray_actor_class__
    assert issubclass(FlowTaskRunner, runner) and parameters(runner.run) == ["self", "config"]
    assert "get_trainer_cls(config.trainer.v1.trainer_mode)" in source(runner.run)
    # What `main` of ours does is what `main` of theirs does.
    for line in ("auto_set_device(config)", "need_reference_policy(config)", "need_critic(config)"):
        assert line in source(main_ppo)


def test_trainers_are_chosen_by_name_and_an_unknown_name_ends_the_run():
    with pytest.raises(ValueError, match="Unknown trainer 'flow_none'"):
        trainer_base.get_trainer_cls("flow_none")


def test_verl_compares_the_mode_with_sync():
    """The reason why the trainer puts the name back; if it goes, so can that."""
    assert 'self.trainer_mode == "sync"' in source(trainer_base)
    assert "trainer_mode" in source(PPOTrainer.__init__)


def test_the_methods_that_are_overridden():
    assert parameters(PPOTrainer._compute_advantage) == ["self", "batch", "metrics"]
    assert parameters(PPOTrainer._init_resource_pool_mgr) == ["self"]
    assert parameters(PPOTrainer._init_tokenizer) == ["self"]
    setup = source(PPOTrainer._setup)
    assert setup.index("_init_tokenizer") < setup.index("create_resource_pool")
    assert "omega_conf_to_dataclass(self.config.actor_rollout_ref.model)" in source(
        PPOTrainer._init_tokenizer
    )
    assert "_compute_advantage" not in vars(PPOTrainerSync), "the synchronous trainer has its own"
    step = source(PPOTrainer._step_once)
    assert step.index("_compute_advantage") < step.index("_update_actor")
    own = {name for name in vars(FlowPPOTrainerSync) if not name.startswith(("__", "_abc"))}
    assert own == {
        "_init_tokenizer",
        "_init_resource_pool_mgr",
        "_compute_advantage",
        "_compute_old_log_prob",
    }


def test_nothing_touches_the_advantages_between_there_and_the_loss():
    between = source(PPOTrainer._step_once).split("_compute_advantage")[-1]
    assert "advantage" not in between.replace("_compute_advantage", "")
    for function in (PPOTrainer._update_actor, ActorRolloutRefWorker.update_actor):
        assert "advantage" not in source(function)


def test_the_trainer_chooses_the_worker_by_role(verl_config):
    assert {Role.Actor, Role.ActorRollout, Role.ActorRolloutRef} == set(ACTOR_ROLES)
    plain = PPOTrainerSync(verl_config())
    plain._init_resource_pool_mgr()
    ours = FlowPPOTrainerSync(verl_config())
    ours._init_resource_pool_mgr()
    assert plain.role_worker_mapping.keys() == ours.role_worker_mapping.keys()
    changed = 0
    for role, made in plain.role_worker_mapping.items():
        worker = made.__ray_actor_class__
        other = ours.role_worker_mapping[role].__ray_actor_class__
        if role in ACTOR_ROLES:
            assert issubclass(worker, ActorRolloutRefWorker) and worker is not other
            assert issubclass(other, FlowActorWorker)
            changed += 1
        else:
            assert issubclass(other, worker) or worker.__name__ == other.__name__
    assert changed == 1


def test_the_worker_is_dispatched_to_as_its_log_probabilities_are():
    theirs = getattr(ActorRolloutRefWorker.compute_log_prob, MAGIC_ATTR)
    ours = getattr(FlowActorWorker.compute_flow_weights, MAGIC_ATTR)
    assert ours["blocking"] and theirs["blocking"]
    for name in ("dispatch_fn", "collect_fn"):
        mine, other = ours["dispatch_mode"][name], theirs["dispatch_mode"][name]
        assert (mine.func, mine.args) == (other.func, other.args)
    started = getattr(ActorRolloutRefWorker.init_model, MAGIC_ATTR)
    assert started == getattr(FlowActorWorker.init_model, MAGIC_ATTR)
    assert parameters(ActorRolloutRefWorker.init_model) == ["self"]
    assert issubclass(ActorRolloutRefWorker.actor_worker_cls, TrainingWorker)


def test_the_engine_has_what_the_worker_asks_of_it():
    for name in (
        "module",
        "model_config",
        "engine_config",
        "ulysses_sequence_parallel_size",
        "_autocast_dtype",
    ):
        assert f"self.{name} = " in source(FSDPEngine), f"the FSDP engine has no {name} any more"
    assert callable(FSDPEngine.eval_mode)
    assert '"_autocast_dtype"' in source(FSDPEngineWithLMHead.forward_step)
    assert "self.engine: BaseEngine" in source(TrainingWorker.__init__)
    assert "self.actor = " in source(ActorRolloutRefWorker.init_model)


def test_the_fields_come_from_the_agent_loop():
    put = source(agent_loop_tq)
    for name in ("prompts", "responses", "response_mask"):
        assert f'field["{name}"]' in put
    assert '"advantages"' in source(PPOTrainer._compute_advantage)
    assert FIELDS == ("prompts", "responses", "response_mask", "advantages")


def test_jagged_tensors_are_verls():
    padded = torch.arange(12.0).view(2, 6)
    mask = nested([torch.ones(4), torch.ones(6)])
    theirs, ours = response_to_nested(padded, mask), jagged(padded, [4, 6])
    assert theirs.layout == ours.layout == torch.jagged
    assert torch.equal(theirs.values(), ours.values())
    assert torch.equal(theirs.offsets(), ours.offsets())


def test_settings_travel_beside_the_tensors():
    from tensordict import TensorDict

    data = TensorDict({"prompts": nested([torch.ones(2)])}, batch_size=1)
    tu.assign_non_tensor_data(data, "flow_credit", {"weighting": {"emphasis": 2.0}})
    assert tu.get_non_tensor_data(data, key="flow_credit", default=None) == {
        "weighting": {"emphasis": 2.0}
    }


def test_the_environment_variable_loads_the_trainer_too():
    """For those who keep a launcher of their own; a module that fails to load ends `import verl`."""
    ask = "from verl.trainer.ppo.v1 import get_trainer_cls; print(get_trainer_cls('flow_sync'))"

    def started(module):
        return subprocess.run(
            [sys.executable, "-c", ask],
            capture_output=True,
            text=True,
            env=os.environ | {"VERL_USE_EXTERNAL_MODULES": module, "OMP_NUM_THREADS": "1"},
        )

    ended = started("cpu_platform,flowtracer.integrations.verl.trainer")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "FlowPPOTrainerSync" in ended.stdout
    ended = started("cpu_platform,flowtracer.integrations.verl.nothing")
    assert ended.returncode != 0 and "flowtracer.integrations.verl.nothing" in ended.stderr


def test_workers_are_pickled_by_name():
    """So that a worker process imports flowtracer by itself, without a plug-in or a variable."""
    pickled = ray.cloudpickle.dumps(FlowActorWorker)
    assert len(pickled) < 200 and b"flowtracer.integrations.verl.worker" in pickled


def test_log_probabilities_come_from_one_method_that_takes_what_the_batch_says():
    """What credit rides on: the workers' method, its dispatch, and the place in verl's step."""
    assert parameters(PPOTrainer._compute_old_log_prob) == ["self", "batch", "metrics"]
    assert "self.actor_rollout_wg.compute_log_prob(batch)" in source(
        PPOTrainer._compute_old_log_prob
    )
    step = source(PPOTrainer._step_once)
    assert step.index("_compute_old_log_prob") < step.index("_compute_advantage")
    assert parameters(ActorRolloutRefWorker.compute_log_prob) == ["self", "data"]
    theirs = getattr(ActorRolloutRefWorker.compute_log_prob, MAGIC_ATTR)
    own = getattr(FlowActorWorker.compute_log_prob, MAGIC_ATTR)
    for name in ("execute_mode", "blocking"):
        assert own[name] == theirs[name]

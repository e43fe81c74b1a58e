"""verl's entry point with flow credit: `python -m flowtracer.integrations.verl` takes its arguments.

verl's own plug-in mechanisms are not used. Its entry points hide a plug-in that fails to load in a
debug message and would train on without credit; its environment variable has to reach the right
processes of a cluster. Here verl's task runner is replaced, as verl's recipes do, by one that imports
the trainer in the process that needs it, and a failure to import ends the run.
"""

from typing import Any

import hydra
import ray
from omegaconf import DictConfig, open_dict
from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config
from verl.utils.device import auto_set_device

from flowtracer.integrations.verl.settings import check_settings

MODES = ("sync", "flow_sync")


class FlowTaskRunner(TaskRunnerV1.__ray_actor_class__):
    """verl's task runner, which knows the trainer with credit."""

    def run(self, config: DictConfig) -> Any:
        from flowtracer.integrations.verl import trainer

        with open_dict(config):
            config.trainer.v1.trainer_mode = trainer.MODE
        return super().run(config)


def check_mode(config: DictConfig) -> None:
    """Refuse verl's asynchronous trainers, for which there is no trainer with credit."""
    mode = config.trainer.v1.trainer_mode
    if mode not in MODES:
        raise ValueError(
            f"trainer.v1.trainer_mode is {mode!r}: credit is given by the synchronous trainer only; "
            "leave it at sync"
        )


@hydra.main(config_path="pkg://verl.trainer.config", config_name="ppo_trainer", version_base=None)
def main(config: DictConfig) -> None:
    """Check the configuration, then what verl's own entry point does."""
    check_settings(config)
    check_mode(config)
    auto_set_device(config)
    validate_config(
        config=config,
        use_reference_policy=need_reference_policy(config),
        use_critic=need_critic(config),
    )
    run_ppo(config, task_runner_class=ray.remote(FlowTaskRunner))

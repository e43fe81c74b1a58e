"""What the plug-in relies on in SkyRL."""

import inspect

import pytest

pytest.importorskip("skyrl", reason="SkyRL is not installed; `make test-skyrl` does that")

from skyrl.train.entrypoints import main_base
from skyrl.train.fully_async_trainer import FullyAsyncRayPPOTrainer
from skyrl.train.trainer import RayPPOTrainer

from flowtracer.integrations import skyrl as plugin


def source(thing):
    return inspect.getsource(thing)


def test_the_version_is_the_one_that_was_run():
    from importlib.metadata import version

    assert version("skyrl").startswith("0.3.")


def test_the_trainer_has_one_place_for_advantages():
    parameters = list(inspect.signature(RayPPOTrainer.compute_advantages_and_returns).parameters)
    assert parameters == ["self", "data"]
    step = source(RayPPOTrainer.train)
    after = step[step.index("self.compute_advantages_and_returns(training_input)") :]
    assert "train_critic_and_policy(training_input)" in after and "advantages" not in after[45:]
    assert "self.compute_advantages_and_returns(training_input)" in source(FullyAsyncRayPPOTrainer)


def test_after_that_place_advantages_are_only_scaled_by_what_the_mask_gives():
    text = source(RayPPOTrainer._normalize_advantages)
    assert text.index("if self.cfg.trainer.algorithm.advantage_batch_normalize") < text.index(
        "apply_loss_reduction_to_advantages_minibatch"
    )
    assert "_normalize_advantages" in source(RayPPOTrainer._execute_training_step)


def test_the_experiment_asks_get_trainer():
    assert "self.get_trainer(" in source(main_base.BasePPOExp._setup_trainer)
    parameters = inspect.signature(main_base.BasePPOExp.get_trainer).parameters
    assert set(parameters) - {"self"} <= set(inspect.signature(RayPPOTrainer.__init__).parameters)
    assert plugin.FlowPPOExp.get_trainer is not main_base.BasePPOExp.get_trainer


def test_the_command_calls_main_of_the_named_module():
    text = source(main_base.main)
    assert f'"{plugin.ENTRYPOINT}"' in text and "import_module(override_entrypoint).main()" in text
    for line in (
        "validate_cfg(cfg)",
        "initialize_ray(cfg)",
        "ray.get(skyrl_entrypoint.remote(cfg))",
    ):
        assert line in text  # what `main` of ours does

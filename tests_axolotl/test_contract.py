"""What the plug-in relies on in Axolotl and its TRL, by name; fails loudly when a later one changes it."""

import inspect
from importlib.metadata import version

import trl
from axolotl.core.builders.rl import HFRLTrainerBuilder
from axolotl.core.trainers.grpo import GRPOStrategy
from axolotl.core.trainers.grpo.trainer import (
    AxolotlGRPOSequenceParallelTrainer,
    AxolotlGRPOTrainer,
)
from axolotl.integrations.base import BasePlugin, PluginManager
from axolotl.utils.schemas.config import AxolotlInputConfig
from axolotl.utils.schemas.trl import TRLConfig

from flowtracer.integrations import trl_riding
from flowtracer.integrations.axolotl import ASYNCHRONOUS
from flowtracer.integrations.trl import RELIED_ON


def source(thing):
    return inspect.getsource(thing)


def test_the_versions_are_those_of_the_requirements():
    assert version("axolotl").startswith("0.18.") and trl.__version__.startswith("1.8.")


def test_trainer_cls_takes_the_place_of_the_trainer_and_gets_its_arguments():
    choose = source(HFRLTrainerBuilder._get_trainer_cls)
    assert "trainer_cls = get_cls_from_module_str(self.cfg.trainer_cls)" in choose
    assert choose.index("set_trainer_args") < choose.index("get_cls_from_module_str")
    assert "*trainer_cls_args,\n                args=training_args" in source(
        HFRLTrainerBuilder.build
    )


def test_a_class_from_a_plug_in_would_get_no_model():
    """The reason why the plug-in sets `trainer_cls` and not `get_trainer_cls`."""
    code = source(HFRLTrainerBuilder._get_trainer_cls)
    assert code.index("trainer_cls_args = []") < code.index("trainer_cls_args = [self.model]")


def test_axolotl_drops_keys_that_nobody_declares():
    assert AxolotlInputConfig.model_config.get("extra") in (None, "ignore")


def test_plug_ins_are_asked_before_the_configuration_is_checked():
    from axolotl.cli import config

    code = source(config.load_cfg)
    assert code.index("prepare_plugins(cfg)") < code.index("validate_config(")
    assert code.index("validate_config(") < code.index("plugin_set_cfg(cfg)")
    assert "plugin.register(cfg)" in source(config.prepare_plugins)
    assert callable(BasePlugin.get_input_args) and hasattr(PluginManager, "cfg")


def test_options_of_trl_that_are_refused_exist():
    fields = TRLConfig.model_fields
    assert {"use_liger_loss", *ASYNCHRONOUS} <= set(fields)
    assert all(f"trl.{name}" in source(GRPOStrategy) for name in ("use_liger_loss", *ASYNCHRONOUS))
    assert "context_parallel_size > 1" in source(HFRLTrainerBuilder._get_trainer_cls)


def test_the_sequence_parallel_trainer_has_a_copy_of_the_method():
    """The reason why it is refused: what credit is added to is TRL's."""
    name = "_generate_and_score_completions"
    assert name in vars(AxolotlGRPOSequenceParallelTrainer)
    kinds = [kind for kind in AxolotlGRPOTrainer.__mro__ if name in vars(kind)]
    assert kinds[0] is trl.GRPOTrainer


def test_its_trl_has_what_the_trl_trainer_relies_on():
    generate = source(trl.GRPOTrainer._generate_and_score_completions)
    assert all(f'"{name}"' in generate for name in RELIED_ON)
    method = trl.GRPOTrainer._get_per_token_logps_and_entropies
    names = tuple(inspect.signature(method).parameters)
    assert names[: len(trl_riding.RELIED_ON)] == trl_riding.RELIED_ON
    loss = source(trl.GRPOTrainer._compute_loss)
    assert loss.index("_get_per_token_logps_and_entropies(") < loss.index('inputs["advantages"]')
    assert "self.liger_loss = " in source(trl.GRPOTrainer.__init__)

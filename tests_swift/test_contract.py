"""What the plug-in relies on in ms-swift, each thing by name; fails loudly when a later swift changes it."""

import inspect
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import swift
import transformers
from swift.arguments import RLHFArguments
from swift.arguments.base_args.base_args import BaseArguments
from swift.pipelines.train import sft
from swift.rl_core.data import GRPOBatch
from swift.rlhf_trainers import GRPOTrainer
from swift.rlhf_trainers.rollout_mixin import RolloutTrainerMixin
from swift.rlhf_trainers.utils import collate_to_grpo_micro_batch
from swift.template import Template
from swift.trainers import TrainerFactory
from swift.utils import import_external_file

from flowtracer.integrations.swift.trainer import FlowCreditMixin, FlowGRPOTrainer


def parameters(function):
    return list(inspect.signature(function).parameters)


def source(thing):
    return inspect.getsource(thing)


def test_the_versions_are_those_of_the_requirements():
    assert version("ms-swift").startswith("4.6.") and transformers.__version__.startswith("5.19.")


def test_the_trainer_is_looked_up_by_name_after_the_plug_ins_were_imported():
    assert TrainerFactory.TRAINER_MAPPING["grpo"] == "swift.rlhf_trainers.GRPOTrainer"
    assert "rsplit('.', 1)" in source(TrainerFactory.get_cls)
    assert "TrainerFactory.get_trainer_cls(args)" in source(sft.SwiftSft.run)
    start = source(BaseArguments.__post_init__)
    assert start.index("_import_external_plugins") < start.index("ModelArguments.__post_init__")
    assert "external_plugins" in {field.name for field in fields(RLHFArguments)}


def test_a_plug_in_file_makes_its_folder_importable():
    """The reason why the package's plug-in file has a folder of its own."""
    assert "sys.path.insert(0, py_dir)" in source(import_external_file)


def test_megatron_is_known_by_its_module():
    command = Path(swift.__file__).parent / "cli" / "_megatron" / "rlhf.py"
    assert "from swift.megatron import" in command.read_text()


def test_one_method_is_added_to():
    own = {name for name in vars(FlowCreditMixin) if not name.startswith("__")}
    swifts = {name for kind in GRPOTrainer.__mro__ for name in vars(kind)}
    assert own & swifts == {"_postprocess_batch"}
    assert FlowGRPOTrainer.__mro__[1:3] == (FlowCreditMixin, GRPOTrainer)
    assert parameters(GRPOTrainer._postprocess_batch) == ["self", "samples", "batch_encoded_inputs"]


def test_the_advantages_of_all_micro_batches_are_known_there():
    rollout = source(RolloutTrainerMixin._generate_and_score_completions)
    assert rollout.index("_prepare_batch_inputs") < rollout.index("_postprocess_batch")
    assert "grpo_batch.advantages = expand_advantage_to_per_token(" in source(
        GRPOTrainer._postprocess_batch
    )
    assert "{'model_inputs': model_inputs, 'grpo_batch': grpo_batch}" in source(
        GRPOTrainer._prepare_batch_inputs
    )
    assert "advantages = grpo_batch.advantages" in source(GRPOTrainer._compute_loss_and_metrics)


def test_nothing_touches_the_advantages_between_there_and_the_loss():
    for method in ("_prepare_inputs", "compute_loss", "_compute_loss", "_compute_loss_single"):
        assert "advantages" not in source(getattr(GRPOTrainer, method)).split('"""')[-1]
    assert "advantage" not in source(GRPOTrainer._log_rollout)


def test_a_batch_has_what_is_read():
    names = {field.name for field in fields(GRPOBatch)}
    assert {"advantages", "completion_mask", "teacher_per_token_logps"} <= names
    assert "labels[:, -logits_to_keep:] != -100" in source(
        inspect.getmodule(collate_to_grpo_micro_batch).build_completion_mask_and_seq_lengths
    )
    packed = source(
        inspect.getmodule(collate_to_grpo_micro_batch).build_completion_mask_and_seq_lengths
    )
    assert "text_position_ids" in packed and "position_ids == 0" in packed


def test_the_trainer_has_what_is_read():
    made = source(GRPOTrainer) + source(RolloutTrainerMixin)
    for name in (
        "use_liger_loss",
        "is_multimodal",
        "loss_type",
        "importance_sampling_level",
        "advantage_reweight",
        "sdar_loss_coef",
        "_metrics",
    ):
        assert f"self.{name} = " in made, f"the trainer has no {name} any more"
    assert callable(GRPOTrainer._has_teacher_explicit)
    assert "self.padding_free = " in source(Template.__init__)
    assert "self.sequence_parallel_size = " in source(Template.__init__)
    assert isinstance(Template.tokenizer, property)

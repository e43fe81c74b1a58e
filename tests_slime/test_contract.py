"""What the plug-in relies on in slime, of modules that cannot be imported here by their source."""

import ast
import importlib.util
import inspect
from pathlib import Path

import pytest

slime = pytest.importorskip("slime", reason="slime is not installed; `make test-slime` fetches it")

from megatron.core import mpu  # noqa: E402
from slime.backends.megatron_utils import cp_utils  # noqa: E402
from slime.backends.megatron_utils import loss as slime_loss  # noqa: E402
from slime.utils.misc import load_function  # noqa: E402

from flowtracer.integrations import slime as plugin  # noqa: E402


def source(module):
    """The text of a module that is not imported: rollouts need SGLang, the actor Megatron's trainer."""
    package = Path(importlib.util.find_spec("slime").submodule_search_locations[0])
    return (package / module).read_text()


def body(module, name):
    """The source of a function or method of such a module."""
    text = source(module)
    found = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    assert len(found) == 1, f"{module} has no single {name} any more"
    return ast.get_source_segment(text, found[0])


def test_the_functions_are_found_by_their_paths():
    for name in ("compute_advantages", "weigh_advantages", "check_start"):
        function = load_function(f"flowtracer.integrations.slime.{name}")
        assert function is getattr(plugin, name)


def test_the_advantage_function_is_called_in_the_place_of_the_estimator():
    function = slime_loss.compute_advantages_and_returns
    assert list(inspect.signature(function).parameters) == ["args", "rollout_data"]
    text = inspect.getsource(function)
    call = text.index("custom_adv_fn(args, rollout_data)")
    assert text.index("is_pipeline_last_stage") < text.index('rollout_data["kl"] = kl') < call
    assert call < text.index("if args.use_opd") < text.index("if args.normalize_advantages")
    assert 'rollout_data["advantages"], rollout_data["returns"]' in text[call:]


def test_the_later_function_is_called_between_the_advantages_and_the_update():
    text = body("backends/megatron_utils/actor.py", "train_actor")
    call = text.index("self.rollout_data_postprocess(self.args, rollout_id, rollout_data)")
    assert text.index("compute_advantages_and_returns(self.args") < call < text.index("train(\n")


def test_slimes_scripts_parse_their_arguments_by_that_name():
    scripts = Path(importlib.util.find_spec("slime").submodule_search_locations[0]).parent
    if not (scripts / "train.py").is_file():
        pytest.skip("slime is installed without its scripts")
    for name in ("train.py", "train_async.py"):
        text = (scripts / name).read_text()
        assert "from slime.utils.arguments import parse_args" in text
        assert text.index('if __name__ == "__main__":') < text.index("args = parse_args()")


def test_settings_reach_every_rank_before_its_model():
    assert "custom_init(args)" in body("backends/megatron_utils/initialize.py", "init")
    text = source("utils/arguments.py")
    assert "setattr(args, k, v)" in text and "args.custom_config_path" in text
    assert "role_args.custom_advantage_function_path = None" in text  # the critic's
    for name in (
        "advantage_estimator",
        "normalize_advantages",
        "compute_advantages_and_returns",
        "custom_advantage_function_path",
        "rollout_data_postprocess_path",
        "loss_type",
        "multimodal_keys",
        "use_opd",
    ):
        assert f"--{name.replace('_', '-')}" in text or f'dest="{name}"' in text, name


def test_the_actor_has_whole_sequences_on_every_rank_of_a_group():
    """Tokens and masks are not cut for context parallelism, while log-probabilities are."""
    kept = body("ray/rollout.py", "_split_train_data_by_dp")
    for name in ("tokens", "loss_masks", "response_lengths", "rewards", "total_lengths"):
        assert f'"{name}"' in kept
    text = body("backends/megatron_utils/actor.py", "_get_rollout_data")
    assert "get_data_parallel_rank(with_context_parallel=False)" in text
    cut = text[text.index("slice_log_prob_with_cp") - 300 :]
    assert '"rollout_log_probs"' in cut and '"tokens"' not in cut


def test_extra_lists_of_numbers_are_logged_as_means():
    text = body("backends/megatron_utils/data.py", "log_rollout_data")
    assert "sum_value = sum(val)" in text and "log_dict[key] = (sum_value, count)" in text


def test_groups_are_megatrons():
    assert callable(mpu.get_tensor_and_context_parallel_group)
    parameters = list(inspect.signature(cp_utils.slice_log_prob_with_cp).parameters)
    assert parameters == ["log_prob", "total_length", "response_length"]

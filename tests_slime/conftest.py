"""slime's own functions on a CPU, with Megatron's groups, and what its actor holds in a step."""

import os
import sys
from argparse import Namespace
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ["TORCHDYNAMO_DISABLE"] = (
    "1"  # slime compiles its losses; here they are called a few times
)

import pytest  # noqa: E402
import torch  # noqa: E402
from helpers.plug_ins import TOOL, sequence_ids  # noqa: E402

from flowtracer.models import load  # noqa: E402

REWARDS = (1.0, -1.0, 0.0, -0.5)  # as slime's rollout manager leaves them, less the group's mean


def make_args(**changes):
    """What slime's arguments say, of what is read here; its own defaults."""
    settings = {
        "advantage_estimator": "grpo",
        "normalize_advantages": False,
        "compute_advantages_and_returns": True,
        "custom_advantage_function_path": "flowtracer.integrations.slime.compute_advantages",
        "rollout_data_postprocess_path": None,
        "loss_type": "policy_loss",
        "multimodal_keys": None,
        "kl_coef": 0.0,
        "kl_loss_type": "k1",
        "use_rollout_logprobs": False,
        "use_opd": False,
        "opd_kl_coef": 1.0,
        "opd_type": "sglang",
        "gamma": 1.0,
        "lambd": 1.0,
        "eps_clip": 0.2,
        "eps_clip_high": 0.28,
        "eps_clip_c": None,
        "use_kl_loss": False,
        "entropy_coef": 0.0,
        "use_opsm": False,
        "opsm_delta": 1e-4,
        "use_tis": False,
        "get_mismatch_metrics": False,
        "calculate_per_token_loss": False,
        "rollout_temperature": 1.0,
        "rollout_top_p": 1.0,
        "log_probs_chunk_size": -1,
        "allgather_cp": False,
        "qkv_format": "thd",
        "true_on_policy_mode": False,
        "flow_credit": {"model": "embedded"},
    }
    return Namespace(**settings | changes)


def make_rollout_data(tokenizer, rank_slice=lambda values, total, length: values):
    """One rank's data as `MegatronTrainRayActor` has it before advantages, four responses.

    rank_slice: the part of a response's values that the rank has.
    """
    draw = torch.Generator().manual_seed(5)
    prompts, responses = sequence_ids(tokenizer)
    tokens = [torch.tensor(asked + given) for asked, given in zip(prompts, responses, strict=True)]
    masks = [torch.ones(len(given), dtype=torch.int) for given in responses]
    masks[3][TOOL] = 0
    lengths, totals = [len(mask) for mask in masks], [len(row) for row in tokens]

    def values():
        rows = [-torch.rand(length, generator=draw) for length in lengths]
        return [rank_slice(*one) for one in zip(rows, totals, lengths, strict=True)]

    return {
        "tokens": tokens,
        "response_lengths": lengths,
        "total_lengths": totals,
        "loss_masks": masks,
        "rewards": list(REWARDS),
        "rollout_mask_sums": torch.tensor([float(mask.sum()) for mask in masks]),
        "rollout_log_probs": values(),
        "log_probs": values(),
        "ref_log_probs": values(),
        "teacher_log_probs": values(),
        "values": values(),
    }


@pytest.fixture(scope="session")
def embedded():
    """A real model and its tokenizer."""
    return load("embedded")


@pytest.fixture(scope="session")
def one_rank(tmp_path_factory):
    """Megatron's groups of one process."""
    import torch.distributed as dist
    from megatron.core import mpu

    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    mpu.initialize_model_parallel()
    yield
    mpu.destroy_model_parallel()
    dist.destroy_process_group()


@pytest.fixture
def rollout_data(embedded):
    return make_rollout_data(embedded.tokenizer)

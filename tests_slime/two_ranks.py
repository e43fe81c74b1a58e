"""One rank of two, of tensor or context parallelism: its part of the advantages, written to a file."""

import sys

import torch
import torch.distributed as dist
from conftest import make_args, make_rollout_data
from megatron.core import mpu
from slime.backends.megatron_utils import loss as slime_loss
from slime.backends.megatron_utils.cp_utils import all_gather_with_cp, slice_log_prob_with_cp

from flowtracer.integrations import scored
from flowtracer.models import load


def main(kind: str, rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    mpu.initialize_model_parallel(**{f"{kind}_parallel_size": 2})
    loads = []
    make, scored.Scorer = (
        scored.Scorer,
        lambda name, **rest: loads.append(name) or make(name, **rest),
    )
    data = make_rollout_data(load("embedded").tokenizer, slice_log_prob_with_cp)
    slime_loss.compute_advantages_and_returns(make_args(), data)
    rows = zip(data["advantages"], data["total_lengths"], data["response_lengths"], strict=True)
    whole = [all_gather_with_cp(*row).detach() for row in rows]
    failure = ""
    args = make_args(flow_credit={"model": "/nowhere"})
    try:
        slime_loss.compute_advantages_and_returns(
            args, make_rollout_data(load("embedded").tokenizer, slice_log_prob_with_cp)
        )
    except RuntimeError as error:
        failure = str(error)
    torch.save(
        {"whole": whole, "own": data["advantages"], "loads": loads, "failure": failure},
        f"{folder}/{rank}",
    )
    dist.destroy_process_group()


main(sys.argv[1], int(sys.argv[2]), sys.argv[3])

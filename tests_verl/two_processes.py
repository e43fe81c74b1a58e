"""Weights of an engine sharded over two processes; see test_engine.py.

torchrun --nproc_per_node 2 tests_verl/two_processes.py fsdp|fsdp2 OUT
"""

import sys

import cpu_platform  # noqa: F401
import torch
import torch.distributed as dist
from conftest import make_data, make_sequences
from made_engine import make_engine

from flowtracer.credit import Credit
from flowtracer.integrations.verl.weights import response_weights
from flowtracer.integrations.verl.worker import all_reduce_max, check_readable, tokenizer_of
from flowtracer.models import load
from flowtracer.models.decoder import is_sharded


def main() -> None:
    strategy, out = sys.argv[1:]
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    loaded = load("embedded")
    sequences = make_sequences(loaded.tokenizer)
    mine = slice(0, 2) if rank == 0 else slice(2, 4)
    data = make_data(
        tuple(part[mine] for part in sequences), (1.0, -1.0) if rank == 0 else (0.0, 0.0)
    )
    expected, _ = response_weights(loaded.model, loaded.tokenizer, data, Credit(), device="cpu")
    engine = make_engine(strategy)
    check_readable(engine)
    assert is_sharded(engine.module)
    whole = sum(weight.numel() for weight in loaded.model.parameters())
    held = sum(
        getattr(weight, "_local_tensor", weight).numel() for weight in engine.module.parameters()
    )
    assert held < 0.6 * whole, "the model is not sharded"
    forwards = []
    engine.module.register_forward_pre_hook(lambda *_: forwards.append(1))
    with engine.eval_mode():
        weights, _ = response_weights(
            engine.module,
            tokenizer_of(engine),
            data,
            Credit(),
            device="cpu",
            all_reduce_max=all_reduce_max,
        )
    torch.save(
        {
            "same": torch.equal(weights.values(), expected.values()),
            "chosen": int((weights.values() == 1.5).sum()),
            "forwards": len(forwards),
        },
        f"{out}.{rank}",
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

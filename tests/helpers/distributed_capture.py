"""Credit of a model sharded by FSDP2 and by FSDP1 over two processes; see test_distributed.py.

torchrun --nproc_per_node 2 tests/helpers/distributed_capture.py OUT
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from distributed_step import PROMPT, RESPONSES
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from flowtracer.credit import Credit, ScoreOptions, score_batch, token_credit
from flowtracer.credit.riding import RiddenCredit
from flowtracer.models import load
from flowtracer.models.decoder import is_sharded


def most(forwards: int) -> int:
    count = torch.tensor(forwards)
    dist.all_reduce(count, dist.ReduceOp.MAX)
    return int(count)


def ridden_weights(model, batch):
    """Out of a forward pass that both processes make, though one of them has nothing to score."""
    ridden = RiddenCredit(model, batch, Credit())
    with ridden.observing():
        model(batch.input_ids, attention_mask=batch.attention_mask)
    assert ridden.complete
    return ridden.credit().weights


def main() -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    loaded = load("embedded")
    tokenizer = loaded.tokenizer
    asked = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    texts = [RESPONSES[0], RESPONSES[3]] if rank == 0 else [RESPONSES[2], RESPONSES[2]]
    completions = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    width = max(map(len, completions))
    batch = score_batch(
        tokenizer,
        prompt_ids=torch.tensor([asked] * 2),
        prompt_mask=torch.ones(2, len(asked), dtype=torch.long),
        completion_ids=torch.tensor([row + [0] * (width - len(row)) for row in completions]),
        completion_mask=torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in completions]),
    )
    alone = token_credit(loaded.model, batch, Credit())
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in loaded.model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(loaded.model, mesh=mesh)
    assert is_sharded(loaded.model)
    # chunk=1: the first process makes two forwards of its own, the second none.
    # A sharded model reads no text in tiles, however long it is.
    credit = Credit(options=ScoreOptions(tile_above=10))
    sharded = token_credit(loaded.model, batch, credit, all_reduce_max=most, chunk=1)
    assert torch.equal(alone.weights, sharded.weights)
    assert torch.equal(alone.weights, ridden_weights(loaded.model, batch))
    assert loaded.model.config.num_hidden_layers == len(loaded.model.model.layers)
    assert loaded.model(batch.input_ids).logits.shape[:2] == batch.input_ids.shape
    whole = load("embedded").model
    policy = ModuleWrapPolicy({type(whole.model.layers[0])})
    wrapped = FullyShardedDataParallel(
        whole, auto_wrap_policy=policy, device_id=torch.device("cpu")
    )
    assert is_sharded(wrapped)
    older = token_credit(wrapped, batch, Credit(), all_reduce_max=most, chunk=1)
    assert torch.equal(alone.weights, older.weights)
    assert torch.equal(alone.weights, ridden_weights(wrapped, batch))
    Path(f"{sys.argv[1]}.{rank}").write_text(str(int((sharded.weights == 1.5).sum())))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

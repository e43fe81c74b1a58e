"""Ranks of tensor and context parallelism: one of them scores, all of them weigh what they have."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import HERE, make_args

pytest.importorskip("slime", reason="slime is not installed; `make test-slime` fetches it")

from slime.backends.megatron_utils import loss as slime_loss


@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize("kind", ["tensor_model", "context"])
def test_two_ranks_give_what_one_gives(rollout_data, kind, tmp_path):
    slime_loss.compute_advantages_and_returns(make_args(), rollout_data)
    folders = (HERE, HERE.parent / "tests", os.environ.get("PYTHONPATH"))
    path = os.pathsep.join(str(folder) for folder in folders if folder)
    ranks = [
        subprocess.Popen(
            [sys.executable, str(HERE / "two_ranks.py"), kind, str(rank), str(tmp_path)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=300)
        assert rank.returncode == 0, errors[-2000:]
    found = [torch.load(tmp_path / str(rank)) for rank in range(2)]
    for one in found:
        for theirs, ours in zip(one["whole"], rollout_data["advantages"], strict=True):
            assert torch.equal(theirs, ours)
        assert "the scorer of flow_credit failed" in one["failure"]
        assert "/nowhere" in one["failure"] and "\n" not in one["failure"]
    assert found[0]["loads"] == ["embedded", "/nowhere"] and found[1]["loads"] == []
    if kind == "context":
        parts = [[len(row) for row in one["own"]] for one in found]
        assert all(
            0 < a < len(b) for a, b in zip(parts[0], rollout_data["advantages"], strict=True)
        )

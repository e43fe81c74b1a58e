"""Two processes on a CPU give what one gives: DDP, FSDP2 and ZeRO-3 in the trainer, FSDP in the capture."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
HELPERS = Path(__file__).parents[1] / "helpers"


def launch(script, out, *arguments, processes):
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc_per_node", str(processes)]
    ended = subprocess.run(
        [*command, str(HELPERS / script), str(out), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


@pytest.mark.parametrize(
    ("forward", "passes"), [("own", 3), pytest.param("ride", 0, marks=pytest.mark.slow)]
)
def test_two_processes_train_to_the_weights_of_one(tmp_path, forward, passes):
    launch("distributed_step.py", tmp_path / "one.pt", forward, processes=1)
    launch("distributed_step.py", tmp_path / "two.pt", forward, processes=2)
    single, two = torch.load(tmp_path / "one.pt"), torch.load(tmp_path / "two.pt")
    assert torch.equal(single["advantages"], two["advantages"])  # the credit, bit by bit
    assert bool((single["advantages"][:, 0] == 1.5).any())
    for name, weight in single["state"].items():
        torch.testing.assert_close(two["state"][name], weight, rtol=0, atol=1e-6)
    assert [row for row, _ in two["rollouts"]] == [0, 1, 2, 3]  # of both, kept by the first
    assert two["rollouts"] == single["rollouts"]
    assert single["selected"] == pytest.approx(two["selected"])
    # The second process has nothing to score and keeps pace with the first.
    assert single["forwards"] == [passes] and two["forwards"] == [passes, passes]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["fsdp2", "zero3"])
@pytest.mark.parametrize(("forward", "passes"), [("own", 3), ("ride", 0)])
def test_a_sharded_model_trains_to_the_weights_of_one_process(tmp_path, forward, passes, sharding):
    if sharding == "zero3":
        pytest.importorskip("deepspeed", reason="DS_BUILD_OPS=0 pip install deepspeed")
    launch("distributed_step.py", tmp_path / "one.pt", forward, processes=1)
    launch("distributed_step.py", tmp_path / "two.pt", forward, sharding, processes=2)
    single, two = torch.load(tmp_path / "one.pt"), torch.load(tmp_path / "two.pt")
    assert torch.equal(single["advantages"], two["advantages"])  # the credit, bit by bit
    for name, weight in single["state"].items():
        torch.testing.assert_close(two["state"][name], weight, rtol=0, atol=1e-6)
    assert two["forwards"] == [passes, passes] and two["rollouts"] == single["rollouts"]


def test_a_sharded_model_gives_the_same_credit(tmp_path):
    launch("distributed_capture.py", tmp_path / "chosen", processes=2)
    first, second = ((tmp_path / f"chosen.{rank}").read_text() for rank in (0, 1))
    assert int(first) > 20 and int(second) == 0

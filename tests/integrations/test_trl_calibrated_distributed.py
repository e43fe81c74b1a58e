"""Two processes measure what one does, and choose the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
SCRIPT = Path(__file__).parents[1] / "helpers" / "distributed_calibration.py"


def states(out, processes):
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc_per_node", str(processes)]
    ended = subprocess.run(
        [*command, str(SCRIPT), str(out)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return [json.loads(Path(f"{out}.{number}").read_text()) for number in range(processes)]


def test_two_processes_measure_what_one_does(tmp_path):
    (single,) = states(tmp_path / "one", 1)
    first, second = states(tmp_path / "two", 2)
    assert first == second
    for saved in (single["state"], first["state"]):
        assert saved["calibrations"] == 1 and [kept["parts"] for kept in saved["window"]] == [4]
    assert single["known"] == pytest.approx(first["known"], rel=1e-3, abs=1e-6)
    assert len(single["known"]) == 4  # two rules
    assert any(abs(value) > 1e-3 for value in single["known"].values())

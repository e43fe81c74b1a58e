"""Runs killed again and again, at any moment: they end as one that nobody disturbed."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from helpers.settings import CONFIG
from safetensors.torch import load_file

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from flowtracer.training.metrics import read_metrics

COMMAND = [sys.executable, "-m", "flowtracer", "train", "c.yaml", "--output_dir"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def start(folder, name):
    return subprocess.Popen(
        [*COMMAND, name],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def finished(folder, name):
    """Run to the end; the seconds it took."""
    began = time.monotonic()
    process = start(folder, name)
    _, errors = process.communicate(timeout=1200)
    assert process.returncode == 0 and "Traceback" not in errors, errors[-2000:]
    return time.monotonic() - began


def end_the_same(folder, kills, seed=0):
    """Kill a run that often, at moments spread over all of a run, and compare."""
    (folder / "c.yaml").write_text(CONFIG.replace("save_steps: 2", "save_steps: 1"))
    seconds = finished(folder, "whole")
    draw = random.Random(seed)
    came_to_an_end = 0
    for _ in range(kills):
        process = start(folder, "killed")
        try:
            _, errors = process.communicate(timeout=seconds * draw.uniform(0.3, 1.0))
            assert process.returncode == 0, errors[-2000:]
            came_to_an_end += 1
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    finished(folder, "killed")
    expected = load_file(folder / "whole" / "model.safetensors")
    weights = load_file(folder / "killed" / "model.safetensors")
    assert all((weights[name] == weight).all() for name, weight in expected.items())
    rows, others = (
        [row for row in read_metrics(folder / name / "metrics.jsonl") if "reward" in row]
        for name in ("killed", "whole")
    )
    assert [(row["step"], row["reward"], row["loss"]) for row in rows] == [
        (row["step"], row["reward"], row["loss"]) for row in others
    ]
    print("\n| command | kills | runs that came to an end | differences |\n|---|---|---|---|")
    print(f"| train | {kills - came_to_an_end} | {came_to_an_end} | 0 |")


@pytest.mark.slow
def test_a_run_killed_20_times_ends_the_same(tmp_path):
    end_the_same(tmp_path, 20)

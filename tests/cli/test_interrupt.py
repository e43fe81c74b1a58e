"""Ctrl-C: one sentence that says how to go on, status 130, within two seconds."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.rollouts import record, write
from helpers.settings import CONFIG

IN_TIME = 2.0  # seconds, the bar
BUSY = 6.0  # seconds: other tests share the machine


def interrupted(command, cwd, *, started, times=1):
    """Run a command, interrupt it once `started` says so; returns its process, stderr and seconds."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        # A shell's background job ignores the signal, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 240
    while not started() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors, time.monotonic() - begun


def one_sentence(errors):
    (line,) = [line for line in errors.splitlines() if line.startswith("flowtracer: ")]
    assert "Traceback" not in errors and "interrupted; run the same command again and" in line
    return line


BUSY_PROGRAM = """
import sys, time
from pathlib import Path
import torch
from flowtracer.cli import main as cli
from flowtracer.storage import atomic_write

@cli.app.command("work")
def work():
    a = torch.randn(20_000, 2_000)
    with atomic_write(Path("result")):
        Path("started").touch()
        a @ a.T @ a @ a.T @ a @ a.T @ a @ a.T  # a minute inside one line
        a @ a.T @ a @ a.T @ a @ a.T @ a @ a.T

sys.argv = ["flowtracer", "work"]
cli.main()
"""


def test_one_long_operation_does_not_hold_up_the_answer(tmp_path):
    status, errors, seconds = interrupted(
        [sys.executable, "-c", BUSY_PROGRAM], tmp_path, started=(tmp_path / "started").exists
    )
    assert status == 130 and seconds < BUSY, (status, seconds)
    assert "it starts from the beginning" in one_sentence(errors)
    assert sorted(os.listdir(tmp_path)) == ["started"]  # no result, and none half-written


def test_score_says_that_it_goes_on_and_does(tmp_path):
    pytest.importorskip("pyarrow", reason="needs the extra flowtracer[score]")
    write(tmp_path / "in.jsonl", [record(number) for number in range(120)])
    command = [sys.executable, "-m", "flowtracer", "score", "in.jsonl", "--shard-rows", "5"]
    parts = tmp_path / "runs" / "score" / "parts"
    status, errors, seconds = interrupted(
        command, tmp_path, started=lambda: parts.exists() and len(list(parts.iterdir())) > 2
    )
    assert status == 130 and seconds < BUSY, (status, seconds)
    assert "it continues where it stopped" in one_sentence(errors)
    assert not list(tmp_path.rglob("*.partial"))
    before = {path: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert subprocess.run(command, cwd=tmp_path, env=os.environ).returncode == 0
    assert all(path.stat().st_mtime_ns == made for path, made in before.items())
    assert json.loads((tmp_path / "runs" / "score" / "manifest.json").read_text())["rows"] == 120


LONG = {
    "eval": ("eval --max-new-tokens 128", "runs/eval/completions.jsonl"),
    "train": ("train c.yaml --output-dir out --max-steps 1000", "out/metrics.jsonl"),
    "study": ("study causal --problems 500 --out study", "study/solutions/solutions.jsonl"),
    "study training": (
        "study training c.yaml --out study --test-problems 500",
        "study/start/eval.log",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", LONG)
def test_every_long_command_answers_in_time(command, tmp_path):
    pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
    (tmp_path / "c.yaml").write_text(CONFIG)
    words, sign = LONG[command]
    status, errors, seconds = interrupted(
        [sys.executable, "-m", "flowtracer", *words.split()],
        tmp_path,
        started=(tmp_path / sign).exists,
    )
    print(f"{command}: {seconds:.1f} s, status {status}")
    assert status == 130 and seconds < IN_TIME, (status, seconds)
    assert "it continues where it stopped" in one_sentence(errors)

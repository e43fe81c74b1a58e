"""A model's solutions, shared by studies, and rows that survive a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

pytest.importorskip("filelock", reason="needs the extra flowtracer[train]")

from flowtracer.studies.solutions import SolutionSettings, collect_solutions
from flowtracer.tasks import load_task


def test_solutions_of_other_questions_are_refused(embedded, tmp_path):
    task = load_task("countdown")
    settings = SolutionSettings("embedded", "countdown", max_new_tokens=128)
    options = {"settings": settings, "count": 2}
    collect_solutions(embedded, task, tmp_path, **options)
    assert len(collect_solutions(embedded, task, tmp_path, **options)) == 2
    other = replace(task, examples=task.examples[1:])
    with pytest.raises(ValueError, match="solution of another problem 0 than task countdown has"):
        collect_solutions(embedded, other, tmp_path, **options)


COMMAND = [sys.executable, "-m", "flowtracer", "study", "causal", "--problems", "18", "--batch", "3",
           "--ratio", "0.1", "--ratio", "0.2", "--max-new-tokens", "128", "--out", "out"]  # fmt: skip
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def run(folder, *options):
    return subprocess.run(
        [*COMMAND, *options], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
    )


def rows_by_problem(folder):
    lines = (folder / "out" / "rows.jsonl").read_text().splitlines()
    return sorted(map(json.loads, lines), key=lambda row: row["problem"])


def test_a_killed_study_goes_on_to_the_same_rows(tmp_path):
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    uninterrupted.mkdir()
    killed.mkdir()
    ended = run(uninterrupted)
    assert ended.returncode == 0, ended.stderr
    path = killed / "out" / "rows.jsonl"
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(COMMAND, cwd=killed, env=ENVIRONMENT, **output)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_text().count("\n") >= 4:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = path.read_text()
    assert 4 <= written.count("\n") < 18
    path.write_text(written[:-30])  # a line that was cut short
    again = run(killed)
    assert again.returncode == 0, again.stderr
    assert rows_by_problem(uninterrupted) == rows_by_problem(killed)
    other = run(uninterrupted, "--seed", "1")
    assert other.returncode == 1 and "holds a study with other settings (" in other.stderr

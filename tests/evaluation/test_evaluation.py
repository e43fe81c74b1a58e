"""Evaluations on the command line: every completion written, resumed after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from helpers.commands import call

from flowtracer.evaluation.run import EvalSettings, evaluate
from flowtracer.models.generation import Sampling
from flowtracer.regions import render_prompt, tokenize_prompt
from flowtracer.rollouts.rollout import Limits, read_rollout
from flowtracer.tasks import load_task

WORDS = ["eval", "--problems", "24", "--responses", "2", "--temperature", "1", "--batch", "8",
         "--max-new-tokens", "60"]  # fmt: skip


def command(*options):
    pytest.importorskip("datasets", reason="needs the extra flowtracer[train]")
    return [sys.executable, "-m", "flowtracer", *WORDS, *options]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def run(folder, *options):
    return subprocess.run(
        command(*options), cwd=folder, capture_output=True, text=True, env=ENVIRONMENT, timeout=200
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval")
    ended = run(folder, "--out", "out")
    assert ended.returncode == 0, ended.stderr
    return folder / "out", ended.stdout


def completions(out):
    lines = (out / "completions.jsonl").read_text().splitlines()
    return sorted(map(json.loads, lines), key=lambda row: (row["problem"], row["sample"]))


def test_every_completion_is_written_and_summed_up(whole):
    out, printed = whole
    rows = completions(out)
    assert [(r["problem"], r["sample"]) for r in rows] == [
        (p, s) for p in range(24) for s in (0, 1)
    ]
    assert all(row["response"] and row["reward"] in (0.0, 1.0) for row in rows)
    summary = json.loads((out / "summary.json").read_text())
    right = sum(row["reward"] for row in rows) / 48
    assert summary["accuracy"]["value"] == pytest.approx(right)
    assert f"{100 * right:.1f}%" in printed and "pass@2" in printed
    assert len({row["response"] for row in rows}) > 24  # samples differ


def test_completions_are_rollouts_that_other_commands_read(whole, embedded):
    row = completions(whole[0])[0]
    limits = Limits(vocabulary=len(embedded.tokenizer), max_tokens=1000)
    rollout = read_rollout(embedded.tokenizer, row, 0, limits=limits)
    prompt = render_prompt(embedded.tokenizer, row["prompt"])
    assert rollout.prompt_ids == tuple(tokenize_prompt(embedded.tokenizer, prompt).ids)
    assert embedded.tokenizer.decode(rollout.response_ids) == row["response"]


def test_a_killed_evaluation_goes_on_to_the_same_result(whole, tmp_path):
    process = subprocess.Popen(
        command("--out", "out"),
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    path, deadline = tmp_path / "out" / "completions.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_text().count("\n") >= 8:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = path.read_text()
    assert 8 <= made.count("\n") < 48
    path.write_text(made[:-20])  # a line that was cut short
    ended = run(tmp_path, "--out", "out")
    assert ended.returncode == 0, ended.stderr
    assert completions(tmp_path / "out") == completions(whole[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "out", "--seed", "5"], "holds an evaluation with other settings (seed was"),
        (["--task", "sudoku"], "sudoku"),
        (["--model", "./nowhere"], "nowhere"),
        (["--backend", "magic"], "transformers or vllm"),
        (["--temperature", "0"], "set --temperature"),
    ],
)
def test_mistakes_get_one_sentence(whole, options, message):
    ended = call(*WORDS, *options, cwd=whole[0].parent)
    assert ended.returncode != 0 and message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_task_that_was_edited_is_another_evaluation(tmp_path):
    task = load_task("countdown", limit=2)
    settings = EvalSettings("embedded", "countdown", 2, sampling=Sampling(max_new_tokens=4))
    first = evaluate(settings, task, tmp_path)
    assert (evaluate(settings, task, tmp_path).rewards == first.rewards).all()
    edited = replace(task.examples[1], answer="another")
    with pytest.raises(ValueError, match="holds an evaluation with other settings"):
        evaluate(settings, replace(task, examples=(task.examples[0], edited)), tmp_path)

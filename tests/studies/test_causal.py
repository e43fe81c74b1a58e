"""The causal study on real models: exact where it must be, chance where it may only be chance."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from flowtracer.evaluation.intervals import bootstrap
from flowtracer.regions import encode_with_offsets, render_prompt, tokenize_prompt
from flowtracer.storage import write_rows
from flowtracer.studies.causal.study import CausalStudy, _closed, _new_answer, _Variant, run_causal
from flowtracer.studies.causal.summary import cells
from flowtracer.studies.formats import FormatStudy, overlap, run_formats, wordings
from flowtracer.studies.resume import SolutionStudy
from flowtracer.studies.shape.study import held_by_top, run_shape, unevenness
from flowtracer.studies.solutions import Solution, SolutionSettings, _solution, collect_solutions
from flowtracer.tasks import load_task
from flowtracer.tasks.task import Example, Task

pytest.importorskip("filelock", reason="needs the extra flowtracer[train]")


def run(study, loaded, task, folder, **more):
    return run_causal(study, loaded, task, folder, progress=lambda *a: None, **more)


@pytest.mark.parametrize("protocol", ["answer", "rest"])
def test_nothing_hidden_changes_nothing_and_all_hidden_changes_the_answer(
    embedded, tmp_path, protocol
):
    study = CausalStudy(
        "embedded", "countdown", ("flow", "position"), (0.01, 1.0), protocol, problems=6,
        max_new_tokens=128,
    )  # fmt: skip
    rows = run(study, embedded, load_task("countdown"), tmp_path)
    assert all(text["came_back"] for row in rows for text in row["texts"])
    assert all(text["plain_answer"] == row["answer"] for row in rows for text in row["texts"])
    whole = [c for row in rows for c in row["texts"][0]["conditions"] if c["ratio"] == 1.0]
    if protocol == "answer":  # the rest could be worked out from the prompt again
        assert np.mean([one["changed"] for one in whole]) > 0.8
    kept = rows[0]["before"] if protocol == "answer" else round(rows[0]["before"] / 2)
    assert whole[1]["hidden"] == kept


def test_scores_shuffled_among_tokens_do_as_chance_does(embedded, tmp_path):
    chance = tuple(f"random@seed={number}" for number in range(3))
    study = CausalStudy(
        "embedded", "countdown", ("flow", "flow@shuffled=yes", *chance), (0.1,), problems=80,
        regenerate=False, max_new_tokens=128, batch=20,
    )  # fmt: skip
    rows = run(study, embedded, load_task("countdown"), tmp_path)
    drop = {one.label: one.values["drop"] for one in cells(rows)}
    null = bootstrap(drop["flow@shuffled=yes"] - drop["random"])
    assert null.low < 0 < null.high
    found = bootstrap(drop["flow"] - drop["random"])
    assert found.low > 0 and found.value > 5 * abs(null.value)


def test_the_drop_is_that_of_one_plain_forward(embedded, tmp_path):
    """Nothing spared, everything hidden: the answer is predicted from the prompt and itself alone."""
    study = CausalStudy("embedded", "countdown", ("random",), (1.0,), problems=2, regenerate=False)
    task = load_task("countdown")
    rows = run(study, embedded, task, tmp_path)
    solved = (tmp_path / "solutions" / "solutions.jsonl").read_text().splitlines()
    solution = next(one for one in map(json.loads, solved) if one["problem"] == rows[0]["problem"])
    prompt, before = len(solution["prompt_ids"]), solution["before"]
    target = solution["response_ids"][before : before + solution["answer_tokens"]]
    ids = solution["prompt_ids"] + solution["response_ids"][:before] + target
    place = torch.arange(len(ids))
    gone = (place >= prompt) & (place < prompt + before)
    visible = (place[None] <= place[:, None]) & ~(gone[None] & (place[None] != place[:, None]))
    mask = torch.zeros(1, 1, len(ids), len(ids)).masked_fill(~visible, torch.finfo(torch.float).min)

    def log_probability(**more):
        with torch.no_grad():
            logs = embedded.model(torch.tensor([ids]), **more).logits[0].log_softmax(-1)
        return float(logs[range(prompt + before - 1, len(ids) - 1), target].sum())

    expected = log_probability() - log_probability(attention_mask=mask)
    assert rows[0]["texts"][0]["conditions"][0]["drop"] == pytest.approx(expected, abs=1e-3)


COMMAND = [sys.executable, "-m", "flowtracer", "study", "causal", "--problems", "18", "--batch", "3",
           "--ratio", "0.1", "--ratio", "0.2", "--max-new-tokens", "128", "--out", "out"]  # fmt: skip
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def test_a_killed_study_goes_on_to_the_same_rows(tmp_path):
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    ended = subprocess.run(COMMAND, cwd=folders[0], env=ENVIRONMENT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    path = folders[1] / "out" / "rows.jsonl"
    process = subprocess.Popen(
        COMMAND,
        cwd=folders[1],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_text().count("\n") >= 4:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = path.read_text()
    assert 4 <= made.count("\n") < 18
    path.write_text(made[:-30])  # a line that was cut short
    again = subprocess.run(COMMAND, cwd=folders[1], env=ENVIRONMENT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr

    def rows(folder):
        lines = (folder / "out" / "rows.jsonl").read_text().splitlines()
        return sorted(map(json.loads, lines), key=lambda row: row["problem"])

    assert rows(folders[0]) == rows(folders[1])
    other = subprocess.run(
        [*COMMAND, "--seed", "1"], cwd=folders[0], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert other.returncode == 1 and "holds a study with other settings (seed was" in other.stderr


@pytest.mark.parametrize("name", ["smollm2", "gemma3-270m"])
def test_it_runs_on_models_of_other_kinds(real_model, tmp_path, name):
    """On a solution written by hand: models so small do not box an answer of their own."""
    loaded = real_model(name)
    example = Example("0", "Tom has 4 apples and buys 3. How many has he now?", "7")
    task = Task("apples", (example,), "", lambda text, one: float(one.answer in text))
    prompt = tokenize_prompt(loaded.tokenizer, render_prompt(loaded.tokenizer, example.question))
    written = (
        "Tom has 4 apples at first. He buys 3 more apples. 4 + 3 = 7. So he has \\boxed{7} apples."
    )
    ids = encode_with_offsets(loaded.tokenizer, written).ids
    made = _solution(loaded, task, 0, prompt.ids, ids)
    assert made.answer == "7" and made.usable
    minus = encode_with_offsets(loaded.tokenizer, written.replace("{7}", "{-7}")).ids
    assert _solution(loaded, task, 0, prompt.ids, minus).answer == "-7"  # `{-` may be one token
    for protocol in ("answer", "rest"):
        folder = tmp_path / protocol
        (folder / "solutions").mkdir(parents=True)
        write_rows(folder / "solutions" / "solutions.jsonl", [asdict(made)])
        study = CausalStudy(
            name, "apples", ("flow", "flow@edges=value", "answer_attention", "random"), (0.2,),
            protocol, problems=1, max_new_tokens=len(ids) + 5,
        )  # fmt: skip
        (text,) = run(study, loaded, task, folder)[0]["texts"]
        assert len(text["conditions"]) == 4
        assert {one["hidden"] for one in text["conditions"]} == {
            int(np.ceil(0.2 * (made.before if protocol == "answer" else round(made.before / 2))))
        }
        if protocol == "answer":
            assert text["plain_answer"] == "7"  # copied from the line before
            assert all(np.isfinite(one["drop"]) for one in text["conditions"])


def test_an_answer_that_was_kept_is_not_a_new_one(embedded):
    tokenizer = embedded.tokenizer
    kept = encode_with_offsets(tokenizer, "18 - 7 = 11, \\boxed{11} or \\boxed{").ids
    solution = Solution(0, "0", (1, 2), tuple(kept), len(kept), 1, "11", 1.0)
    variant = _Variant(solution, None, len(kept), None, [], 0.0)

    def new(text):
        ids = encode_with_offsets(tokenizer, text).ids
        whole, spans = _new_answer(embedded, "boxed", variant, ids)
        closed = _closed(embedded, "boxed", variant, ids)
        return [whole[one.start : one.stop] for one in spans], closed

    assert new("18") == ([], False)  # the old box is closed, the new one is not yet
    assert new("18}") == (["18"], True)


def test_solutions_of_other_questions_are_refused(embedded, tmp_path):
    task = load_task("countdown")
    settings = SolutionSettings("embedded", "countdown", max_new_tokens=128)
    options = {"settings": settings, "wanted": 2}
    collect_solutions(embedded, task, tmp_path, **options)
    assert len(collect_solutions(embedded, task, tmp_path, **options)) == 2
    other = replace(task, examples=task.examples[1:])
    with pytest.raises(ValueError, match="solution of another problem 0 than task countdown has"):
        collect_solutions(embedded, other, tmp_path, **options)


def test_the_explanation_is_a_whole_line():
    draw = random.Random(0)
    unfinished = wordings("18", "9 * 2 = 18\nSo $x = \\boxed{", [], draw)["explanation"].content
    assert unfinished == "18, because 9 * 2 = 18"
    assert "this follows" in wordings("18", "so $x = \\boxed{", [], draw)["explanation"].content


def test_the_wording_of_the_answer_is_all_that_differs(embedded, tmp_path):
    study = FormatStudy(SolutionSettings("embedded", "countdown", max_new_tokens=128), problems=6)
    task = load_task("countdown")
    rows = run_formats(study, embedded, task, tmp_path, progress=lambda *a: None)
    assert len(rows) == 6 and set(rows[0]["overlap"]) == {
        "full line", "explanation", "multiple choice",
    }  # fmt: skip
    # Chance is 0.4; the model inside the package has seen nothing but bare answers.
    assert np.mean([value for row in rows for value in row["overlap"].values()]) > 0.55
    found = wordings("18", "9 * 2 = 18\nso", ["7", "8"], random.Random(0))
    assert found["answer only"].content == "18" and "9 * 2 = 18" in found["explanation"].content
    letter = found["multiple choice"].content
    assert f"{letter}. 18" in found["multiple choice"].options
    a = torch.tensor([True, True, False, False])
    assert overlap(torch.tensor([True, False, True, False]), a) == 0.5 and overlap(a, a) == 1


def test_the_shape_of_the_flow_is_told_beside_chance(embedded, tmp_path):
    study = SolutionStudy(SolutionSettings("embedded", "countdown", max_new_tokens=128), problems=6)
    rows = run_shape(study, embedded, load_task("countdown"), tmp_path, progress=lambda *a: None)
    for row in rows:
        n = len(row["texts"])
        assert sum(row["high"]) == int(np.ceil(0.4 * n - 1e-9)) and len(row["structural"]) == n
        assert row["held"] == sorted(row["held"]) and row["held"][-1] <= 1
        assert len(row["shuffled"]) == 20
    assert held_by_top(torch.ones(100)) == pytest.approx([0.01, 0.05, 0.2, 0.4])
    assert unevenness([4, 4, 4]) == 0 and unevenness([3]) is None

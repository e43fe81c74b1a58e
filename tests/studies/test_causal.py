"""The causal study on real models: exact where it must be, chance where it may only be chance."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

pytest.importorskip("filelock", reason="needs the extra flowtracer[train]")

from flowtracer.regions import encode_with_offsets, render_prompt, tokenize_prompt
from flowtracer.statistics.intervals import bootstrap
from flowtracer.studies.causal.conditions import PreparedText
from flowtracer.studies.causal.judging import is_complete, new_answer
from flowtracer.studies.causal.settings import CausalStudy
from flowtracer.studies.causal.study import run_causal
from flowtracer.studies.causal.summary import cells
from flowtracer.studies.solutions import Solution, SolutionSet, SolutionSettings, read_solution
from flowtracer.tasks import load_task
from flowtracer.tasks.task import Example, Task

COUNTDOWN = SolutionSettings("embedded", "countdown", max_new_tokens=128)


def run(study, loaded, task, folder):
    return run_causal(study, loaded, task, folder, progress=lambda *a: None)


@pytest.mark.parametrize("protocol", ["answer", "rest"])
def test_no_knockout_changes_nothing_and_knocking_out_everything_changes_the_answer(
    embedded, tmp_path, protocol
):
    study = CausalStudy(COUNTDOWN, 6, ("flow", "position"), (0.01, 1.0), protocol, excluded=(0,))
    rows = run(study, embedded, load_task("countdown"), tmp_path)
    assert all(text["reproduced"] for row in rows for text in row["texts"])
    assert all(text["plain_answer"] == row["answer"] for row in rows for text in row["texts"])
    everything = [c for row in rows for c in row["texts"][0]["conditions"] if c["ratio"] == 1.0]
    if protocol == "answer":  # the rest could be worked out from the prompt again
        assert np.mean([condition["changed"] for condition in everything]) > 0.8
    kept = rows[0]["before"] if protocol == "answer" else round(rows[0]["before"] / 2)
    assert everything[1]["knocked_out"] == kept


def test_scores_shuffled_among_tokens_do_as_chance_does(embedded, tmp_path):
    chance = tuple(f"random@seed={number}" for number in range(3))
    scorers = ("flow", "flow@shuffled=yes", *chance)
    study = CausalStudy(COUNTDOWN, 80, scorers, (0.1,), regenerate=False, batch=20)
    rows = run(study, embedded, load_task("countdown"), tmp_path)
    drop = {cell.label: cell.values["drop"] for cell in cells(rows)}
    null = bootstrap(drop["flow@shuffled=yes"] - drop["random"])
    assert null.low < 0 < null.high
    effect = bootstrap(drop["flow"] - drop["random"])
    assert effect.low > 0 and effect.value > 5 * abs(null.value)


def test_the_drop_is_that_of_one_plain_forward(embedded, tmp_path):
    """With everything knocked out the answer is predicted from the prompt and itself alone."""
    study = CausalStudy(COUNTDOWN, 2, ("random",), (1.0,), regenerate=False, excluded=(0,))
    rows = run(study, embedded, load_task("countdown"), tmp_path)
    lines = (tmp_path / "solutions" / "solutions.jsonl").read_text().splitlines()
    solution = next(s for s in map(json.loads, lines) if s["problem"] == rows[0]["problem"])
    prompt, before = len(solution["prompt_ids"]), solution["before"]
    target = solution["response_ids"][before : before + solution["answer_tokens"]]
    ids = solution["prompt_ids"] + solution["response_ids"][:before] + target
    position = torch.arange(len(ids))
    gone = (position >= prompt) & (position < prompt + before)
    itself = position[None] == position[:, None]
    visible = (position[None] <= position[:, None]) & ~(gone[None] & ~itself)
    mask = torch.zeros(1, 1, len(ids), len(ids)).masked_fill(~visible, torch.finfo(torch.float).min)

    def log_probability(**options):
        with torch.no_grad():
            logs = embedded.model(torch.tensor([ids]), **options).logits[0].log_softmax(-1)
        return float(logs[range(prompt + before - 1, len(ids) - 1), target].sum())

    expected = log_probability() - log_probability(attention_mask=mask)
    assert rows[0]["texts"][0]["conditions"][0]["drop"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", ["smollm2", "gemma3-270m"])
def test_it_runs_on_models_of_other_kinds(real_model, tmp_path, name):
    """On a solution written by hand: models so small do not box an answer of their own."""
    loaded = real_model(name)
    example = Example("0", "Tom has 4 apples and buys 3. How many has he now?", "7")
    task = Task("apples", (example,), "", lambda text, example: float(example.answer in text))
    prompt = tokenize_prompt(loaded.tokenizer, render_prompt(loaded.tokenizer, example.question))
    written = (
        "Tom has 4 apples at first. He buys 3 more apples. 4 + 3 = 7. So he has \\boxed{7} apples."
    )
    ids = encode_with_offsets(loaded.tokenizer, written).ids
    solution = read_solution(loaded, task, 0, prompt.ids, ids)
    assert solution.answer == "7" and solution.usable
    minus = encode_with_offsets(loaded.tokenizer, written.replace("{7}", "{-7}")).ids
    negative = read_solution(loaded, task, 0, prompt.ids, minus)
    assert negative.answer == "-7"  # `{-` may be one token
    settings = SolutionSettings(name, "apples", max_new_tokens=len(ids) + 5)
    scorers = ("flow", "flow@edges=value", "answer_attention", "random")
    for protocol in ("answer", "rest"):
        folder = tmp_path / protocol
        (folder / "solutions").mkdir(parents=True)
        line = json.dumps(asdict(solution)) + "\n"
        (folder / "solutions" / "solutions.jsonl").write_text(line)
        study = CausalStudy(settings, 1, scorers, (0.2,), protocol, excluded=(0,))
        (text,) = run(study, loaded, task, folder)[0]["texts"]
        assert len(text["conditions"]) == 4
        kept = solution.before if protocol == "answer" else round(solution.before / 2)
        counts = {condition["knocked_out"] for condition in text["conditions"]}
        assert counts == {int(np.ceil(0.2 * kept))}
        if protocol == "answer":
            assert text["plain_answer"] == "7"  # copied from the line before
            assert all(np.isfinite(condition["drop"]) for condition in text["conditions"])


def test_an_answer_that_was_kept_is_not_a_new_one(embedded):
    tokenizer = embedded.tokenizer
    kept = encode_with_offsets(tokenizer, "18 - 7 = 11, \\boxed{11} or \\boxed{").ids
    solution = Solution(0, "0", (1, 2), tuple(kept), len(kept), 1, "11", 1.0)
    within = SolutionSet(embedded.model, tokenizer, load_task("countdown"), (solution,), None)
    text = PreparedText(solution, None, len(kept), (), None)

    def read(written):
        ids = encode_with_offsets(tokenizer, written).ids
        response, spans = new_answer(within, text, ids)
        return [response[s.start : s.stop] for s in spans], is_complete(within, text, ids)

    assert read("18") == ([], False)  # the old box is closed, the new one is not yet
    assert read("18}") == (["18"], True)

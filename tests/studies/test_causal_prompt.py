"""The causal study of prompts: which of their tokens, and what is measured."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("filelock", reason="needs the extra flowtracer[train]")

from flowtracer.studies.causal.report import write_report
from flowtracer.studies.causal.settings import CausalStudy
from flowtracer.studies.causal.study import run_causal
from flowtracer.studies.scorer_choices import label_of, parse_scorers, score_solution
from flowtracer.studies.solutions import SolutionSet, SolutionSettings, read_solution
from flowtracer.tasks import load_task

COUNTDOWN = SolutionSettings("embedded", "countdown", max_new_tokens=128)


def run(study, loaded, folder):
    task = load_task("countdown")
    rows = run_causal(study, loaded, task, folder, progress=lambda *a: None)
    lines = (folder / "solutions" / "solutions.jsonl").read_text().splitlines()
    by_problem = {solution["problem"]: solution for solution in map(json.loads, lines)}
    return rows, [by_problem[row["problem"]] for row in rows]


def conditions(row):
    return row["texts"][0]["conditions"]


def drops_of_plain_forwards(model, solution, hidden):
    """Drop of every response token up to the answer's end, from two forwards with a mask by hand."""
    prompt = len(solution["prompt_ids"])
    end = prompt + solution["before"] + solution["answer_tokens"]
    ids = (solution["prompt_ids"] + solution["response_ids"])[:end]
    position = torch.arange(end)
    gone = torch.isin(position, torch.tensor(hidden))
    visible = (position[None] <= position[:, None]) & (
        ~gone[None] | (position[None] == position[:, None])
    )
    mask = torch.zeros(1, 1, end, end).masked_fill(~visible, torch.finfo(torch.float).min)
    with torch.no_grad():
        plain, blind = (
            model(torch.tensor([ids]), **options).logits[0].log_softmax(-1)
            for options in ({}, {"attention_mask": mask})
        )
    rows = range(prompt - 1, end - 1)
    return plain[rows, ids[prompt:]] - blind[rows, ids[prompt:]]


def test_the_drop_of_the_response_and_of_its_answer_is_that_of_plain_forwards(embedded, tmp_path):
    study = CausalStudy(
        COUNTDOWN, 2, ("random",), (1.0,), "rest", (0.0,), (0, 2), False, side="prompt"
    )
    rows, solutions = run(study, embedded, tmp_path)
    for row, solution in zip(rows, solutions, strict=True):
        for condition, excluded in zip(conditions(row), (0, 2), strict=True):
            hidden = list(range(len(solution["prompt_ids"]) - excluded))
            drops = drops_of_plain_forwards(embedded.model, solution, hidden)
            assert condition["knocked_out"] == len(hidden)
            assert condition["drop"] == pytest.approx(float(drops.sum()), abs=1e-2, rel=1e-4)
            answer = float(drops[-solution["answer_tokens"] :].sum())
            assert condition["answer_drop"] == pytest.approx(answer, abs=1e-2, rel=1e-4)


def test_only_the_users_words_can_be_knocked_out(embedded, tmp_path, monkeypatch):
    """By planted scores of another package: the last of the user's words are the highest."""

    class FlashTrace:
        def __init__(self, model, tokenizer):
            self.tokenizer = tokenizer

        def trace(self, *, prompt, **_):
            ids = self.tokenizer(prompt)["input_ids"]
            return SimpleNamespace(scores=[1.0 + n for n in range(len(ids))])

    monkeypatch.setitem(sys.modules, "flashtrace", SimpleNamespace(FlashTrace=FlashTrace))
    study = CausalStudy(
        COUNTDOWN, 2, ("flashtrace",), (0.2, 1.0), regenerate=False, side="user", excluded=(0,)
    )
    rows, solutions = run(study, embedded, tmp_path)
    tokenizer = embedded.tokenizer
    for row, solution in zip(rows, solutions, strict=True):
        text = [tokenizer.decode([token]) for token in solution["prompt_ids"]]
        user = [n for n, token in enumerate(text) if not token.startswith("<|")]
        some, everything = conditions(row)
        assert everything["knocked_out"] == len(user)
        hidden = user[-some["knocked_out"] :]
        drops = drops_of_plain_forwards(embedded.model, solution, hidden)
        answer = float(drops[-solution["answer_tokens"] :].sum())
        assert some["drop"] == pytest.approx(answer, abs=1e-3)


def test_a_whole_response_is_regenerated_from_its_prompt(embedded, tmp_path):
    study = CausalStudy(COUNTDOWN, 4, ("flow", "random"), (0.5,), "rest", (0.0,), side="user")
    rows, _ = run(study, embedded, tmp_path)
    assert all(row["texts"][0]["reproduced"] for row in rows)
    assert any(condition["changed"] for row in rows for condition in conditions(row))
    text = write_report(study, rows, tmp_path).read_text()
    assert "Tokens of the prompt that the user wrote are knocked out" in text
    assert "in the user's words in front of a cut at 0% of the way to the answer" in text


def test_the_table_has_both_drops(embedded, tmp_path):
    study = CausalStudy(
        COUNTDOWN, 3, ("flow", "random"), (0.2,), "rest", (0.0,), regenerate=False, side="prompt"
    )
    rows, _ = run(study, embedded, tmp_path)
    text = write_report(study, rows, tmp_path).read_text()
    assert "the old response's log-probability from the cut to its answer's end is taken" in text
    header = next(line for line in text.splitlines() if line.startswith("| scorer |"))
    assert "| drop, nats |" in header and "| drop of the answer's tokens, nats |" in header


def test_scores_of_the_prompt_are_shuffled_among_the_prompt(embedded):
    task = load_task("countdown")
    ids = embedded.tokenizer("Make 33 from 3, 7, 18.", add_special_tokens=False)["input_ids"]
    written = embedded.tokenizer("18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}")
    solution = read_solution(embedded, task, 0, ids, written["input_ids"])
    within = SolutionSet(embedded.model, embedded.tokenizer, task, (solution,), None)
    plain, shuffled = score_solution(
        within, solution, parse_scorers(["flow", "flow@shuffled=yes"])
    ).values()
    for part in (slice(0, len(ids)), slice(len(ids), None)):
        assert not torch.equal(plain[part], shuffled[part])
        assert torch.equal(plain[part].sort().values, shuffled[part].sort().values)


def test_a_scorer_of_prompts_is_for_studies_of_prompts_and_has_a_label_without_its_package():
    assert label_of("flashtrace@end=bottom") == "flashtrace@end=bottom"
    assert parse_scorers(["flashtrace"], side="prompt")[0].scorer == "flashtrace"
    with pytest.raises(ValueError, match="--side prompt"):
        parse_scorers(["flashtrace"])

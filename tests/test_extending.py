"""A new scorer, answer rule or task is one function and one line in one table."""

import torch
from helpers.responses import GOOD, sampled

from flowtracer import Credit, ScoreOptions, find_answer, token_credit, trace
from flowtracer.regions import answers
from flowtracer.scorers import SCORERS
from flowtracer.scorers.responses import score_batch
from flowtracer.scorers.scorer import Evidence, Scorer
from flowtracer.tasks.loading import TASKS, Source, load_task
from flowtracer.tasks.sources import Hub


def even_ids(evidence: Evidence, options: ScoreOptions) -> torch.Tensor:
    """1 for tokens with an even id, (B, T)."""
    return (evidence.batch.input_ids % 2 == 0).float()


def first_line(text: str) -> list[answers.Span]:
    """The first line of a response."""
    return [answers.Span(0, text.index("\n"))] if text.find("\n") > 0 else []


def test_a_scorer_is_one_function_and_one_line(embedded, monkeypatch):
    monkeypatch.setitem(SCORERS, "even-ids", Scorer(even_ids))
    batch = score_batch(embedded.tokenizer, **sampled(embedded, [GOOD]))
    weights = token_credit(embedded.model, batch, Credit(scorer="even-ids")).weights
    chosen = weights > 1
    assert bool(chosen.any())
    assert bool((batch.input_ids[chosen] % 2 == 0).all())


def test_an_answer_rule_is_one_function_and_one_line(embedded, monkeypatch):
    monkeypatch.setitem(answers.ANSWER_RULES, "first-line", first_line)
    text = "18 + 7 = 25, not 33.\n\\boxed{18 + 7}"
    assert find_answer(text, "first-line") == [answers.Span(0, 20)]
    traced = trace(embedded.model, embedded.tokenizer, "Make 33.", text, answer="first-line")
    assert traced.provenance.answer_rule == "first-line"
    assert "answer" in traced.roles


def test_a_task_is_one_line(monkeypatch, tmp_path):
    source = Source("\n\nAdd.", lambda response, example: 1.0, Hub("someone/sums"))
    monkeypatch.setitem(TASKS, "sums", source)
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "test.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    task = load_task("sums", source=tmp_path)
    assert task.prompt(task.examples[0])[0]["content"] == "1 + 1?\n\nAdd."

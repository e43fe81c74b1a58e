"""Prompts that open a thought: a response that never closes it has no answer, whoever looks for one."""

from functools import partial

import pytest
import torch
from helpers.settings import CONFIG
from helpers.thinking import OPENS, thinking_model

from flowtracer import trace
from flowtracer.credit import score_batch, sequence_credit
from flowtracer.regions import encode_with_offsets, render_prompt, tokenize_prompt
from flowtracer.studies.sampling import Drawing, draw_responses
from flowtracer.studies.solutions import read_solution
from flowtracer.tasks import Example, Task, grade_countdown
from flowtracer.tracing.trace import AnswerNotFound

QUESTION = "Make 33 from 3, 7, 18."
CLOSED = "\\boxed{7}</think>\\boxed{(18 - 7) * 3}"
CUT_OFF = "18 - 7 = 11, \\boxed{(18 - 7) * 3}"
EXAMPLE = Example("0", QUESTION, "33", {"numbers": [3, 7, 18], "target": 33})
TASK = Task("countdown", (EXAMPLE,), "", grade_countdown)


@pytest.fixture(scope="module")
def thinking(embedded):
    return thinking_model(embedded)


def prompt_ids(loaded):
    return tokenize_prompt(loaded.tokenizer, render_prompt(loaded.tokenizer, QUESTION)).ids


def response_ids(loaded, text):
    return encode_with_offsets(loaded.tokenizer, text).ids


def test_a_batch_of_a_trainer(thinking):
    tokenizer = thinking.tokenizer
    prompt = torch.tensor([prompt_ids(thinking)])
    for text, answer in ((CLOSED, "(18 - 7) * 3"), (CUT_OFF, "")):
        ids = torch.tensor([response_ids(thinking, text)])
        parts = {"completion_ids": ids, "completion_mask": torch.ones_like(ids)}
        batch = score_batch(
            tokenizer, prompt_ids=prompt, prompt_mask=torch.ones_like(prompt), **parts
        )
        decoded = tokenizer.decode(batch.input_ids[batch.answer > 0])
        assert decoded.strip("{} ") == answer
        without = prompt[:, : -len(response_ids(thinking, OPENS))]
        batch = score_batch(
            tokenizer, prompt_ids=without, prompt_mask=torch.ones_like(without), **parts
        )
        assert bool(batch.scorable.all())


def test_packed_sequences_each_have_their_own_prompt(thinking):
    opened, closed = prompt_ids(thinking), response_ids(thinking, f"{QUESTION}\n")
    response = response_ids(thinking, CUT_OFF)
    rows = [opened + response, closed + response]
    mask = [[0] * len(prompt) + [1] * len(response) for prompt in (opened, closed)]
    result = sequence_credit(
        thinking.model,
        thinking.tokenizer,
        torch.tensor([rows[0] + rows[1]]),
        torch.tensor([mask[0] + mask[1]]),
        cu_seq_lens=torch.tensor([0, len(rows[0]), len(rows[0]) + len(rows[1])]),
    )
    assert result.answered.tolist() == [False, True]


def test_a_trace(thinking):
    read = partial(trace, thinking.model, thinking.tokenizer, QUESTION, answer="boxed")
    assert read(CLOSED).provenance.answer_rule == "boxed"
    with pytest.raises(AnswerNotFound):
        read(CUT_OFF)


def test_solutions_of_a_study(thinking):
    read = partial(read_solution, thinking, TASK, 0, prompt_ids(thinking))
    closed, cut_off = (read(response_ids(thinking, text)) for text in (CLOSED, CUT_OFF))
    assert (closed.answer, closed.reward) == ("(18 - 7) * 3", 1.0)
    assert (cut_off.answer, cut_off.reward, cut_off.usable) == ("", 0.0, False)


def test_sampled_responses_of_a_study(thinking):
    seen = []
    task = Task("t", (EXAMPLE,), "", lambda text, example: float(bool(seen.append(text))))
    draw_responses(thinking, task, [EXAMPLE], [prompt_ids(thinking)], Drawing(4), count=3, seed=0)
    assert len(seen) == 3 and all(text.startswith("<think>") for text in seen)


def begins_in_a_thought(response, example):
    """A reward for `flowtracer train` and `eval`."""
    return float(response.startswith("<think>"))


@pytest.fixture
def folder(thinking, tmp_path):
    """The model saved, and a YAML file that trains it for a step by `begins_in_a_thought`."""
    thinking.model.save_pretrained(tmp_path / "model")
    thinking.tokenizer.save_pretrained(tmp_path / "model")
    text = CONFIG.replace("embedded", str(tmp_path / "model")).replace(
        "max_steps: 6", "max_steps: 1"
    )
    (tmp_path / "c.yaml").write_text(f"{text}reward: {__name__}:begins_in_a_thought\n")
    return tmp_path


def test_an_evaluation(folder):
    pytest.importorskip("filelock", reason="needs the extra flowtracer[train]")
    from flowtracer.evaluation.run import EvalSettings, evaluate
    from flowtracer.models.generation import Sampling

    task = Task("t", (EXAMPLE,), "", begins_in_a_thought)
    settings = EvalSettings(str(folder / "model"), "t", 1, sampling=Sampling(max_new_tokens=4))
    assert evaluate(settings, task, folder / "eval").accuracy.value == 1.0


def test_a_training_run(folder):
    pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
    from flowtracer.training.arguments import read_settings
    from flowtracer.training.metrics import read_metrics
    from flowtracer.training.run import train

    train(read_settings(folder / "c.yaml", ["--output_dir", str(folder / "out")]))
    rows = read_metrics(folder / "out" / "metrics.jsonl")
    assert [row["reward"] for row in rows if "reward" in row] == [1.0]


def test_a_closing_tag_that_is_not_decoded_leaves_responses_as_they_are():
    task = Task("t", (), "", lambda text, example: float(text.startswith("<think>")))
    opened = task.behind("Q\n<think>\n")
    assert opened.grade_response("a</think>b", Example("x", "q", "a")) == 1.0
    dropped = task.behind("Q\n<think>\n", dropped=["<think>", "</think>"])
    assert dropped.grade_response("ab", Example("x", "q", "a")) == 0.0

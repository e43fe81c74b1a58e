"""`flowtracer trace`: responses that are kept, folders that are not written over, more scorers."""

import json
import shlex

import pytest
from helpers.commands import call

from flowtracer import load_trace

PROBLEM = ("--problem", "Make 24 from 4, 6, 1.", "--no-figures")


@pytest.fixture(scope="module")
def without_answer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    return folder, call("trace", *PROBLEM, "--answer", "gsm8k", "--layers", "all", cwd=folder)


def test_a_response_without_an_answer_is_kept_and_the_printed_command_traces_it(without_answer):
    folder, result = without_answer
    assert result.returncode == 1 and "no answer found by the rule 'gsm8k'" in result.stderr
    kept = (folder / "runs" / "trace" / "response.txt").read_text()
    row = json.loads((folder / "runs" / "trace" / "response.jsonl").read_text())
    assert "\\boxed" in kept and row["response"] == kept and row["response_ids"]
    command = shlex.split(result.stderr.partition("is traced by: ")[2])
    assert command[0] == "flowtracer"
    again = call(*command[1:], cwd=folder)
    assert again.returncode == 0, again.stderr
    traced = load_trace(folder / "runs" / "trace" / "trace.json")
    assert list(traced.ids[traced.response_start :]) == row["response_ids"]
    assert traced.provenance.layers == tuple(range(6))


def test_an_earlier_trace_is_not_written_over(without_answer):
    folder, _ = without_answer
    row = ("--jsonl", "runs/trace/response.jsonl", "--no-figures")
    assert call("trace", *row, cwd=folder).returncode == 0
    assert (folder / "runs" / "trace-2" / "trace.json").exists()
    refused = call("trace", *row, "--out", "runs/trace-2", cwd=folder)
    assert refused.returncode == 1 and "pass --overwrite" in refused.stderr
    again = call("trace", *row, "--out", "runs/trace-2", "--overwrite", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert not (folder / "runs" / "trace-3").exists()


def test_scorers_and_edges_are_in_the_trace_and_a_cut_off_is_told(tmp_path):
    result = call(
        "trace", *PROBLEM, "--max-new-tokens", "8", "--scorer", "entropy", "--edges", "value",
        "--out", "o", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "cut off at 8 tokens" in result.stderr
    made = load_trace(tmp_path / "o" / "trace.json")
    assert made.cut_off and made.provenance.edges == "value"
    assert len(made.scores["entropy"]) == len(made.ids) and made.top(
        1, scorer="entropy", roles=("answer",)
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--answer", "best"), "answer rule 'best' is unknown"),
        (("--scorer", "best"), "scorer 'best' is unknown"),
        (("--edges", "thin"), "edges is 'thin'"),
        (("--word-cloud",), "leave --no-figures out"),
    ],
)
def test_a_bad_choice_is_refused_before_a_model_is_loaded(words, message, tmp_path):
    result = call("trace", *PROBLEM, "--model", "no/model", *words, cwd=tmp_path)
    assert result.returncode == 1 and message in result.stderr
    assert not (tmp_path / "runs").exists()

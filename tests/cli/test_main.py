"""The command line end to end, as a user runs it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import MODELS
from helpers.commands import call

from flowtracer import load_trace

FILES = {
    "response.jsonl",
    "response.txt",
    "trace.json",
    "trace.html",
    "graph.png",
    "graph.svg",
    "bars.png",
    "bars.svg",
}


def run(*arguments, cwd, timeout=180):
    """`flowtracer ...` in a process of its own, offline."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-m", "flowtracer", *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip


def refused(result, *words):
    """One sentence on stderr, none of Python's own, and a status that says so."""
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("flowtracer: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def first_command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    started = time.monotonic()
    result = run("trace", cwd=folder)
    return folder / "runs" / "trace", result, time.monotonic() - started


def test_without_options_a_real_solution_is_traced(first_command):
    out, result, _ = first_command
    assert result.returncode == 0, result.stderr
    assert {path.name for path in out.iterdir()} == FILES
    assert (out / "trace.html").resolve().as_uri() in result.stdout
    assert "hubs where the flow gathers" in result.stdout
    made = load_trace(out / "trace.json")
    assert "not 4." in made.response and "yes" in made.response
    assert "\\boxed{" in made.response
    arrived = sum(f for f, role in zip(made.inflow, made.roles, strict=True) if role == "answer")
    assert arrived == pytest.approx(1.0, abs=1e-4)
    assert made.provenance.model == "embedded"
    assert made.provenance.layers == (2, 3)


def test_the_first_command_takes_seconds(first_command):
    assert first_command[2] < 60  # the bar is 15 s on a quiet machine; tests share theirs


def test_the_same_command_gives_the_same_files(first_command, tmp_path):
    out, _, _ = first_command
    assert run("trace", cwd=tmp_path).returncode == 0
    for name in FILES:
        assert (tmp_path / "runs" / "trace" / name).read_bytes() == (out / name).read_bytes(), name


def test_show_makes_page_and_figures_again_without_a_model(first_command, tmp_path):
    out, first, _ = first_command
    again = call("show", out / "trace.json", "--out", tmp_path, cwd=tmp_path)
    assert again.returncode == 0
    assert again.stdout.split("Wrote")[0] == first.stdout.split("Wrote")[0]
    assert (tmp_path / "trace.html").read_bytes() == (out / "trace.html").read_bytes()


def test_a_problem_is_answered_then_traced(tmp_path):
    result = call(
        "trace", "--problem", "Make 24 from 4, 6, 1.", "--out", "o", "--no-figures",
        "--layers", "all", "--answer", "boxed", "--answer-tokens", "relay", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    made = load_trace(tmp_path / "o" / "trace.json")
    assert made.provenance.layers == tuple(range(6))
    assert made.provenance.answer_tokens == "relay"
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "response.jsonl", "response.txt", "trace.json", "trace.html",
    }  # fmt: skip


def test_files_and_rows_are_traced_as_they_are(tmp_path):
    (tmp_path / "p.txt").write_text("Make 9 from 4, 5, 1.", encoding="utf-8")
    (tmp_path / "r.txt").write_text("4 + 5 = 9, 9 * 1 = 9, yes.\n\\boxed{(4 + 5) * 1}")
    rows = [
        {"question": "Make 8 from 2, 3, 3."},
        {"prompt": "Make 9 from 4, 5, 1.", "response": "#### 9"},
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    arguments = ("--prompt-file", "p.txt", "--response-file", "r.txt", "--question", "user")
    assert call("trace", *arguments, "--out", "a", "--no-figures", cwd=tmp_path).returncode == 0
    made = load_trace(tmp_path / "a" / "trace.json")
    assert made.response == "4 + 5 = 9, 9 * 1 = 9, yes.\n\\boxed{(4 + 5) * 1}"
    assert made.provenance.question == "user"
    arguments = ("--jsonl", "d.jsonl", "--row", "1", "--answer", "auto")
    assert call("trace", *arguments, "--out", "b", "--no-figures", cwd=tmp_path).returncode == 0
    made = load_trace(tmp_path / "b" / "trace.json")
    assert [made.token_text(i).strip() for i, r in enumerate(made.roles) if r == "answer"] == ["9"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--problem", "What is love?"), ("embedded model only knows", "'What'", "--model")),
        (("--problem", " "), ("prompt is empty",)),
        (("--layers", "9-12"), ("layers", "0 to 5")),
        (("--layers", "centre"), ("layers", "'centre'", "middle")),
        (("--answer", "best"), ("answer rule 'best' is unknown", "boxed")),
        (("--answer", "regex:("), ("not a valid pattern",)),
        (("--answer", "gsm8k"), ("no answer found by the rule 'gsm8k'",)),
        (("--answer-tokens", "both"), ("answer_tokens is 'both'",)),
        (("--question", "system"), ("question is 'system'",)),
        (("--model", "./nowhere", "--problem", "x"), ("model ./nowhere", "config.json")),
        (("--model", "nowhere.gguf", "--problem", "x"), ("no such file",)),
        (("--model", "someone/some-model"), ("say what to trace",)),
        (("--dtype", "int8"), ("dtype int8",)),
        (("--device", "abacus"), ("device abacus",)),
        (("--prompt-file", "absent.txt"), ("absent.txt", "cannot be read")),
        (("--prompt-file", "empty.txt"), ("empty.txt", "is empty")),
        (("--prompt-file", "bytes.bin"), ("bytes.bin", "not UTF-8")),
        (("--response-file", "empty.txt"), ("--response-file needs --prompt-file",)),
        (("--problem", "x", "--jsonl", "rows.jsonl"), ("--problem, --jsonl",)),
        (("--jsonl", "rows.jsonl", "--row", "7"), ("no row 7", "3 rows")),
        (("--jsonl", "rows.jsonl", "--row", "0"), ("row 0", "not JSON")),
        (("--jsonl", "rows.jsonl", "--row", "1"), ("row 1", "no prompt")),
        (("--jsonl", "rows.jsonl", "--row", "2"), ("row 2", "not a JSON object")),
        (("--out", "empty.txt/inside"), ("empty.txt",)),
    ],
)
def test_bad_input_gets_one_sentence(arguments, words, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "bytes.bin").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "cut of\n{"response": "x"}\n[1]\n')
    refused(call("trace", *arguments, cwd=tmp_path), *words)


def test_a_hub_that_cannot_be_reached_gets_one_sentence(tmp_path):
    result = call("trace", "--model", "someone/some-model", "--problem", "x", cwd=tmp_path)
    refused(result, "someone/some-model", "hub")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema": "flowtracer.trace", "version": 99}']
)
def test_a_damaged_trace_gets_one_sentence(content, tmp_path):
    (tmp_path / "t.json").write_text(content)
    refused(call("show", "t.json", cwd=tmp_path), "t.json")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("trace", "--colour", "red"), ("there is no option --colour", "trace --help")),
        (("trace", "--row", "first"), ("Invalid value for '--row'", "trace --help")),
        (("score",), ("Missing argument 'IN'", "score --help")),
        (("paint",), ("No such command 'paint'", "--help")),
        (("trace", "--problem", "\udcff"), ("is not UTF-8 text",)),
    ],
)
def test_wrong_usage_gets_one_sentence_and_status_2(arguments, words, tmp_path):
    result = call(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    refused(result, *words)


def test_without_a_command_there_is_help(tmp_path):
    result = call(cwd=tmp_path)
    assert result.returncode == 2 and "Usage:" in result.stdout and "trace" in result.stdout


def test_help_and_version_come_without_loading_torch(tmp_path):
    program = (
        "import sys; from flowtracer.cli import main as cli; sys.argv = ['flowtracer', '--version'];"
        "\ntry: cli.main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("flowtracer 0.")


def test_a_real_model_answers_and_is_traced(real_model, tmp_path):
    real_model("smollm2")
    result = call(
        "trace", "--model", MODELS / "smollm2", "--problem", "What is 2 + 3?",
        "--max-new-tokens", "24", "--dtype", "float32", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    made = load_trace(tmp_path / "runs" / "trace" / "trace.json")
    assert made.provenance.layers == tuple(range(10, 20))
    assert set(made.roles) >= {"template", "user", "answer"}
    assert str(Path.home()) not in (tmp_path / "runs" / "trace" / "trace.html").read_text()

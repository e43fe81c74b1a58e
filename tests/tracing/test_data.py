"""A trace in Python: its repr, its parts, its files, its tables and figures."""

import subprocess
import sys
from dataclasses import replace

import pytest
from helpers.traces import HOSTILE, made_trace

from flowtracer import load_trace
from flowtracer.flow import select_backbone

PROMPT = ["What", " is", " 17", "?"]
RESPONSE = ["It", " is", " 1", "7", "\n", "{", "17", "}"]


@pytest.fixture(scope="module")
def trace():
    return made_trace(PROMPT, RESPONSE, answer=6)


def test_the_repr_is_one_line_that_says_what_it_is(trace):
    assert repr(trace) == (
        "Trace(model='made', prompt=4 tokens, response=8 tokens, answer='17', "
        f"hubs={len(trace.hubs)})"
    )
    long = made_trace(PROMPT, ["word"] * 50 + ["x" * 10_000])
    assert len(repr(long)) < 200 and "\n" not in repr(made_trace(PROMPT, ["a", "\n\n\n"]))


def test_tokens_and_answer_are_text(trace):
    assert trace.tokens == (*PROMPT, *RESPONSE)
    assert trace.answer == "17"
    roles = list(trace.roles)
    roles[6] = roles[7] = "answer"
    assert replace(trace, roles=tuple(roles)).answer == "17 17"


def test_top_tokens_come_highest_first_and_of_the_asked_roles(trace):
    top = trace.top(3)
    assert [token.score for token in top] == sorted((token.score for token in top), reverse=True)
    assert all(
        token.role == "response" and trace.tokens[token.position] == token.text for token in top
    )
    assert trace.top(1, roles=("answer",))[0].text == "17"
    assert len(trace.top(100, roles=("user", "response", "answer"))) == len(trace.ids)
    with pytest.raises(ValueError, match="no scores by 'entropy', it has flow"):
        trace.top(scorer="entropy")
    with pytest.raises(ValueError, match="no role 'system'"):
        trace.top(roles=("system",))


def test_the_backbone_is_that_of_the_method(trace):
    import torch

    for ratio in (0.2, 0.4, 1.0):
        candidates = torch.arange(len(trace.ids)) >= trace.response_start
        chosen = select_backbone(torch.tensor([trace.throughput]), candidates[None], ratio=ratio)
        assert trace.backbone(ratio) == tuple(chosen[0].nonzero()[:, 0].tolist())
    with pytest.raises(ValueError, match="ratio is 0"):
        trace.backbone(0)


def test_the_ending_says_what_is_saved(trace, tmp_path):
    trace.save(tmp_path / "t.json")
    assert load_trace(tmp_path / "t.json") == trace
    trace.save(tmp_path / "t.html")
    assert (tmp_path / "t.html").read_text(encoding="utf-8") == trace.to_html()
    assert "<html" in trace.to_html()
    trace.save(tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    trace.save(tmp_path / "t.svg")
    assert "<svg" in (tmp_path / "t.svg").read_text(encoding="utf-8")
    for name in ("t", "t.txt", "t.PNG"):
        with pytest.raises(ValueError, match=r"cannot be saved as .*; use \.json .*\.html"):
            trace.save(tmp_path / name)
    assert not (tmp_path / "t.txt").exists()


def test_a_table_has_a_row_for_each_token():
    pytest.importorskip("pandas", reason="needs pandas")
    trace = made_trace(["ask", "\ud800"], HOSTILE, answer=3)
    table = trace.to_dataframe()
    assert list(table.columns)[:9] == [
        "id", "text", "role", "answer_weight", "throughput", "potential", "inflow", "hub", "backbone",
    ]  # fmt: skip
    assert table.index.name == "position" and list(table["text"]) == list(trace.tokens)
    assert table[table["backbone"]].index.tolist() == list(trace.backbone())


def test_a_figure_of_each_kind(trace):
    assert trace.plot().axes
    repeated = made_trace(PROMPT, ["a", "b", "c", "d"] * 12 + ["x"])
    assert repeated.plot("bars").axes
    with pytest.raises(ValueError, match="use 'graph' or 'bars'"):
        trace.plot("pie")


def test_reading_and_saving_a_trace_imports_no_torch():
    program = (
        "import sys; import flowtracer.tracing.file, flowtracer.render.figures\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
        "import flowtracer; assert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

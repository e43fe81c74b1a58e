"""Where answers are found, and that no text can make a rule fail or crawl."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtracer.regions import ANSWER_RULES, Span, find_answer, opened_thought

SOLUTION = """We try \\boxed{1}.

So half of it,
the answer is \\boxed{\\frac{1}{2} \\text{ or } {3}} here.
End."""


def found(text, rule):
    return [text[span.start : span.stop] for span in find_answer(text, rule)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SOLUTION, "\\frac{1}{2} \\text{ or } {3}"),
        ("\\boxed{42}", "42"),
        ("\\boxed {  42 }", "42"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{a \\} b}", "a \\} b"),
        ("first \\boxed{1}, then cut off \\boxed{2", "1"),
        ("\\boxed{1} and \\boxed{}", "1"),
        ("\\boxed{\\boxed{7}}", "7"),
        ("\\boxed{x}\n\\boxed{y} {", "y"),
        ("{ \\boxed{5} ", "5"),
        ("} \\boxed{5} }", "5"),
    ],
)
def test_the_last_balanced_box_is_the_answer(text, expected):
    assert found(text, "boxed") == [expected]


@pytest.mark.parametrize(
    "text", ["", "no box", "\\boxed{", "\\boxed{1", "\\boxed{}", "\\boxed{ \n }"]
)
def test_without_a_whole_box_there_is_no_answer(text):
    for rule in ("boxed", "line", "explained"):
        assert found(text, rule) == []


def test_the_box_with_its_line_or_its_explanation():
    assert found(SOLUTION, "line") == ["the answer is \\boxed{\\frac{1}{2} \\text{ or } {3}} here."]
    assert found(SOLUTION, "explained") == [
        "So half of it,\nthe answer is \\boxed{\\frac{1}{2} \\text{ or } {3}} here."
    ]
    assert found("a\n\\boxed{1\n2} b\nc", "line") == ["\\boxed{1\n2} b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\boxed{B}", ["B"]),
        ("\\boxed{\\text{(C) the moon}}", ["C"]),
        ("\\boxed{D. all}", ["D"]),
        ("\\boxed{Because}", []),
        ("Option A is wrong. The answer is (B).", ["B"]),
        ("answer: **D**", ["D"]),
        ("I think\n(C)\n", ["C"]),
        ("the answer is a number", []),
        ("The ANSWER IS B", ["B"]),
        ("no letter", []),
        ("\\boxed{A or B}", []),
        ("\\boxed{A, B, C, D}", []),
        ("\\boxed{A} \\boxed{B}", ["B"]),
        ("The answer is A or B.", []),
        ("The answer is I think B", ["B"]),
        ("The answer is B, I think.", ["B"]),
        ("The answer is A bird", []),
    ],
)
def test_the_letter_of_a_multiple_choice(text, expected):
    assert found(text, "choice") == expected


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("tag", "<answer>1</answer> no <answer> 2 </answer> tail", ["2"]),
        ("tag", "<answer>1", []),
        ("tag", "1</answer>", []),
        ("tag", "<answer> </answer>", []),
        ("gsm8k", "so\n#### 1,234", ["1,234"]),
        ("gsm8k", "#### 1\n#### 2 eggs \n", ["2 eggs"]),
        ("gsm8k", "####\n", []),
        ("last-line", "a\nb c \n\n ", ["b c"]),
        ("last-line", " \n", []),
        ("auto", "#### 3\n<answer>2</answer>\n\\boxed{1}", ["1"]),
        ("auto", "#### 3\n<answer>2</answer>", ["2"]),
        ("auto", "#### 3\nx", ["3"]),
        ("auto", "only\nthis", []),
        ("auto", "7 * 6 = 42.\nThe answer is 42.", ["42"]),
        ("auto", "**Answer:** 3.5 km\n", ["3.5 km"]),
        ("auto", "The answer is not clear. The final answer is: $x = 4$. Done.", ["$x = 4$"]),
        ("stated", "The answer is **(B)**.", ["(B)"]),
        ("stated", "answers are many", []),
        ("last-line", "only\nthis", ["this"]),
        ("auto", "**Answer:** $\\frac{1}{2}$", ["$\\frac{1}{2}$"]),
        ("auto", "The final answer is 3.14 m. I hope it helps.", ["3.14 m"]),
        ("auto", "So the answer is (B).", ["B"]),
        ("auto", "I think\n(C)\n", ["C"]),
        ("auto", "\\boxed{(1 + 2) * 3}", ["(1 + 2) * 3"]),
        ("auto", "To answer this we need more", []),
        ("stated", "The answer is 1. No, the answer is 2", ["2"]),
        ("gsm8k", "#### **72**", ["72"]),
        ("regex:x=(\\d+)", "x=1 x=22", ["22"]),
        ("regex:\\d+", "x=1 x=22", ["22"]),
        ("regex:(a)|b", "a b", ["a"]),
        (re.compile("y"), "xyz", ["y"]),
    ],
)
def test_other_rules(rule, text, expected):
    assert found(text, rule) == expected


@pytest.mark.parametrize("rule", sorted({*ANSWER_RULES, "regex:[0-9]+"} - {"tool-call", "choice"}))
def test_a_thought_is_not_searched(rule):
    answer = "The answer is 2.\n#### 2\n<answer>2</answer>\n\\boxed{2}"
    for opened in ("<think>", "<thinking>", ""):
        closed = opened.replace("<", "</") or "</think>"
        text = f"{opened}{answer.replace('2', '1')}{closed}\n{answer}"
        pieces = found(text, rule)
        assert pieces and all("2" in piece and "1" not in piece for piece in pieces)
        assert found(f"{opened}{answer}{closed}\n", rule) == []
    assert found(f"<think>{answer}", rule) == []
    assert found(f"{answer}<think>Wait", rule) == []
    assert find_answer(answer, rule, thinking=True) == []
    assert find_answer(f"{answer}</think>\n", rule, thinking=True) == []
    behind = f"1</think>\n{answer}"
    assert find_answer(behind, rule, thinking=True) == find_answer(behind, rule) != []


@pytest.mark.parametrize(
    ("prompt", "tag"),
    [
        ("<|assistant|><think>\n", "<think>"),
        ("[/INST][THINK]", "[THINK]"),
        ("Write <think> first.<|assistant|>", ""),
        ("<think>\n\n</think>\n\n", ""),
        ("", ""),
    ],
)
def test_a_prompt_opens_a_thought_at_its_end_only(prompt, tag):
    assert opened_thought(prompt) == tag


def test_a_pattern_that_takes_too_long_finds_nothing_and_is_warned_of():
    started = time.monotonic()
    with pytest.warns(UserWarning, match="took more than"):
        assert find_answer("1" * 60 + "x", "regex:(1|11)+$") == []
    with pytest.warns(UserWarning, match="took more than"):
        assert find_answer("1" * 60 + "x", re.compile("(1|11)+$")) == []
    assert find_answer("1" * 40 + "x", "regex:(1+)+$") == []
    assert time.monotonic() - started < 5


def test_flags_of_a_compiled_pattern_are_kept():
    assert found("x\nY=Á1", re.compile(r"^y=(\w)", re.I | re.M)) == ["Á"]
    assert found("y=Á1", re.compile(r"y=\W(\w)", re.A)) == ["1"]


def test_functions_and_spans_are_rules_too():
    text = "call(3, 4)"
    assert find_answer(text, lambda t: None) == []
    assert find_answer(text, lambda t: (5, 6)) == [Span(5, 6, 1.0)]
    assert find_answer(text, lambda t: [(5, 6, 2.0), (8, 9)]) == [Span(5, 6, 2.0), Span(8, 9)]
    assert find_answer(text, [Span(0, 4, 0.5)]) == [Span(0, 4, 0.5)]
    assert find_answer(text, []) == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("nonsense", "'nonsense' is unknown; use auto, boxed, line"),
        ("regex:(", "not a valid pattern"),
        ([(0, 99)], "does not fit a response of 10 characters"),
        ([(4, 4)], "does not fit"),
        ([(-1, 4)], "does not fit"),
        ([(0, 4, 0.0)], "does not fit"),
        ([(0, 4, float("inf"))], "does not fit"),
        (lambda text: 7, r"must be \(start, stop\)"),
        (lambda text: [7], r"must be \(start, stop\)"),
        (lambda text: [("a", "b")], "does not fit|must be"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        find_answer("call(3, 4)", rule)


pieces = st.sampled_from(
    ["\\boxed{", "\\boxed", "{", "}", "\\", "\\}", "<answer>", "</answer>", "####", " ", "\n", "\n\n",
     "answer is ", "(B)", "C", "12", "é", "🙂", "\x00", "\u202e"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces | st.text(max_size=3), max_size=40).map("".join))
def test_no_rule_raises_and_every_span_holds_something(text):
    for rule in ANSWER_RULES:
        for span in find_answer(text, rule):
            assert 0 <= span.start < span.stop <= len(text)
            assert text[span.start : span.stop].strip()


@pytest.mark.parametrize(
    "unit",
    ["\\boxed{", "\\boxed{1}", "{", "}", " ", "\n", "<answer>", "####", "#### ", "answer is ", "\\", "A ",
     "answer" + " " * 50, "(", "*"],
)  # fmt: skip
def test_long_hostile_text_takes_no_long_time(unit):
    text = unit * (200_000 // len(unit))
    for hostile in (text, text + "}" * 30_000, "answer " + text, "\\boxed{" + text):
        for rule in ANSWER_RULES:
            started = time.monotonic()
            find_answer(hostile, rule)
            assert time.monotonic() - started < 2, (rule, hostile[:20])

"""No pattern of ours takes more than twice the time for twice the text."""

import itertools
import time

import pytest

from flowtracer.math_answers import text
from flowtracer.math_answers.equality import is_tame, parts
from flowtracer.regions import ANSWER_RULES, find_answer
from flowtracer.tasks import Example, grade_choice, grade_countdown, grade_number

STARTS = ["", "5", "\\boxed{5", "\\frac{", "The answer is "]
PIECES = [
    "\\text{a}   ", "\\text{", "\\text{a} ^{2} / ", " ", "1", "1,", "1 ", ",", "}", "{", "\\boxed{",
    "a", "a ", "1a", "^{2}", "\\frac{1}{2}", "\\frac", "\\sqrt ", "\\left(", "\\!", "~", "and ", " or ",
    "$", "%", "*", "** ", "####", "#### *", "answer is ", "(A) ", "A or ", "option A, ", "<tool_call>",
    "<answer>", "<think>", "</think>", "\n", "\\", "-",
]  # fmt: skip
SHAPES = [(start, piece) for start, piece in itertools.product(STARTS, PIECES)]
EXAMPLE = Example("x", "?", "5", {"choices": ["a", "b"], "numbers": [2, 3], "target": 5})


def read_all(written):
    """Everything that reads a whole response or answer, with the length checks of none but callers."""
    cleaned = text.clean(written)
    text.key(cleaned)
    text.number(cleaned)
    text.words(cleaned)
    text.without_unit(cleaned, "km/h")
    list(parts(cleaned))
    is_tame("5", cleaned)
    for rule in ANSWER_RULES:
        find_answer(written, rule)
    for grade in (grade_number, grade_choice, grade_countdown):
        grade(written, EXAMPLE)


def seconds(written):
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        read_all(written)
        best = min(best, time.process_time() - started)
    return best


def test_there_are_200_shapes():
    assert len(SHAPES) == 200


@pytest.mark.parametrize("start", STARTS)
def test_four_times_the_text_takes_four_times_the_time(start):
    """Sixteen times if a pattern were quadratic; measured again where something else got in between."""
    for piece in PIECES:
        short, long = (start + piece * (length // len(piece)) + "x" for length in (2_000, 8_000))
        limits = (4 * 1.5 * seconds(short) + 0.002 >= seconds(long) for _ in range(3))
        assert any(limits), piece


def test_the_answer_that_hung_a_grader():
    answer = "\\boxed{5" + "\\text{a}   " * 14 + "x}"
    started = time.process_time()
    assert grade_number(answer, Example("x", "q", "5")) == 0.0
    assert time.process_time() - started < 1

"""Countdown: what counts as a solution, and problems that no training run sees."""

import itertools
import random
import time
from fractions import Fraction
from pathlib import Path

import pytest

from flowtracer.tasks.countdown import (
    Problem,
    all_problems,
    attempts,
    held_out_problems,
    is_solution,
)

SCRIPTS = Path(__file__).parents[2] / "scripts" / "embedded"
PROBLEM = Problem((3, 7, 18), 33)


@pytest.mark.parametrize(
    "expression",
    ["(18 - 7) * 3", "3*(18-7)", "((18) - 7)*3", " (18 - 7) * 3 ", "(18\n-7)*3"],
)
def test_right_expressions_are_right(expression):
    assert is_solution(expression, PROBLEM)


@pytest.mark.parametrize(
    "expression",
    [
        "", "33", "18 - 7 * 3", "(18 - 7) * 3 = 33", "(18 - 7) * 3 + 0", "11 * 3", "(18 - 7) * 3 * 1",
        "18 + 7 + 3", "(18 - 7) ** 3", "(18 - 7) // 3", "-(7 - 18) * 3", "(18 - 7) * 3.0", "True * 33",
        "abs(18 - 7) * 3", "__import__('os').system('true')", "(18 - 7) * (3", "18 7 3", "x", "\x00",
        "1/(3-3) + 18", "(" * 150 + "3" + ")" * 10, "9" * 5000, "18**9**9", "1e999", "(18-7)*3" + " " * 400,
        "lambda: 3", "[18, 7, 3]", "(18 - 7) * ３",
    ],
)  # fmt: skip
def test_wrong_or_malformed_text_is_wrong_at_once(expression):
    started = time.monotonic()
    assert not is_solution(expression, PROBLEM)
    assert time.monotonic() - started < 0.5


def test_division_is_exact():
    assert is_solution("8 / (3 - 8 / 3)", Problem((3, 3, 8, 8), 24))
    assert not is_solution("7 / 3 * 3 + 1", Problem((1, 3, 7), 8))
    assert is_solution("(1 + 1) / 2 * 5", Problem((1, 1, 2, 5), 5))


def test_attempts_are_all_there_is():
    """Against brute force over orders, operators and both ways to set parentheses."""
    for numbers in ((3, 7, 18), (2, 2, 4), (1, 5, 25)):
        slow = set()
        for a, b, c in itertools.permutations(map(Fraction, numbers)):
            for f, g in itertools.product("+-*/", repeat=2):
                first = combine(a, b, f)
                if first is not None:
                    slow |= {combine(first, c, g), combine(c, first, g)} - {None}
        values = {way.value for way in attempts(numbers)}
        assert values == {int(value) for value in slow}
        for way in attempts(numbers):
            assert is_solution(way.expression, Problem(numbers, way.value))
            for step in way.steps:
                left, result = step.split(" = ")
                assert is_solution(left, Problem(tuple(map(int, left.split()[::2])), int(result)))


def combine(a, b, operator):
    """The result where it is a whole number from 1 to 200, as attempts are written."""
    result = {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[operator]
    return result if result.denominator == 1 and 0 < result <= 200 else None


def test_held_out_problems_are_never_trained_on(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    from traces import training_problems

    trained = {(tuple(sorted(p.numbers)), p.target) for p in training_problems()}
    held_out = held_out_problems(1000, seed=0)
    assert len(held_out) == len(set(held_out)) == 1000
    assert not trained & {(tuple(sorted(p.numbers)), p.target) for p in held_out}
    assert len(trained) + sum(p.held_out for p in all_problems()) == len(all_problems())
    assert held_out == held_out_problems(1000, seed=0) != held_out_problems(1000, seed=1)


@pytest.mark.parametrize("count", [3, 4])
def test_traces_to_train_on_are_right_line_by_line(monkeypatch, count):
    monkeypatch.syspath_prepend(SCRIPTS)
    from traces import training_problems, write_trace

    generator = random.Random(0)
    solved = 0
    for problem in generator.sample(training_problems(count, sample=300), 300):
        assert len(problem.numbers) == count and not problem.held_out
        *lines, box = write_trace(problem, generator).split("\n")
        for line in lines:
            if line == "I stop here.":
                continue
            *steps, verdict = line.removesuffix(".").split(", ")
            assert len(steps) == count - 1
            for step in steps:
                left, result = step.split(" = ")
                assert is_solution(left, Problem(tuple(map(int, left.split()[::2])), int(result)))
            assert verdict == ("yes" if int(result) == problem.target else f"not {problem.target}")
        right = is_solution(box.removeprefix("\\boxed{").removesuffix("}"), problem)
        assert right == (lines[-1] != "I stop here.")
        solved += right
    assert 0.55 < solved / 300 < 0.8


def test_the_embedded_model_solves_some_problems_and_fails_at_some(embedded, monkeypatch):
    """A small rerun of the card's measurement: 42% of 1,000; here 60, so a wide margin."""
    monkeypatch.syspath_prepend(SCRIPTS)
    from evaluate import is_right, respond

    problems = held_out_problems(60, seed=3)
    texts = respond(embedded.model, embedded.tokenizer, problems, sample=True, seed=0)
    solved = sum(is_right(text, problem) for text, problem in zip(texts, problems, strict=True))
    assert 0.2 <= solved / 60 <= 0.65
    assert sum("\\boxed{" in text for text in texts) >= 55
    assert any("not" in text and "yes" in text for text in texts)


def test_the_embedded_model_is_small():
    folder = Path(__file__).parents[2] / "src" / "flowtracer" / "embedded"
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < 5_000_000

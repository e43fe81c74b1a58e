"""Three hundred hostile answers: none is right, nothing raises, every one is graded within 2 s."""

import time
import warnings

import pytest
from helpers.grading import box, example
from helpers.hostile import hostile_answers

from flowtracer.math_answers import symbolic
from flowtracer.tasks import (
    Task,
    grade_choice,
    grade_countdown,
    grade_math,
    grade_minerva,
    grade_number,
)
from flowtracer.tasks.task import BATCH_LIMIT

pytest.importorskip("math_verify", reason="math-verify (flowtracer[train]) is not installed")

GRADERS = (grade_math, grade_minerva, grade_number, grade_choice, grade_countdown)
REFERENCES = ("7", "x^2+1", r"\frac{1}{2 n+2}")
COUNTDOWN = {"numbers": [3, 7, 18], "target": 33}
NOISE = 0.5  # seconds that a busy machine may add


@pytest.mark.slow
@pytest.mark.parametrize("kind", hostile_answers())
def test_hostile_answers_are_wrong_within_their_time(kind, tmp_path, monkeypatch, bar):
    monkeypatch.chdir(tmp_path)
    answers = hostile_answers()[kind]
    assert len(answers) == 30
    longest = 0.0
    for number, answer in enumerate(answers):
        asked = example(REFERENCES[number % 3], COUNTDOWN)
        for grade in GRADERS:
            # A process that had to be killed starts anew outside of the time that is taken.
            assert not symbolic.symbolically_equal([f"x+{time.monotonic()}"], [f"x+{number}"])
            started = time.monotonic()
            assert grade(box(answer), asked) == 0.0, (grade.__name__, asked.answer, answer)
            longest = max(longest, time.monotonic() - started)
    assert longest <= symbolic.TIME_LIMIT + NOISE
    assert not list(tmp_path.iterdir())
    bar(f"hostile answers: {kind}", len(answers), f"wrong, {longest:.1f} s at most")


@pytest.mark.slow
def test_a_batch_of_hostile_answers_of_all_kinds_ends_in_time(bar):
    """512 answers, whatever they are made of; those that nobody knows are left out, not wrong."""
    assert not symbolic.symbolically_equal(["x+1"], ["x+2"])
    answers = [answer for answers in hostile_answers().values() for answer in answers]
    answers += [f"{answer}+{number}" for number, answer in enumerate(answers[:212])]
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        rewards = Task("mine", (), "", grade_math).reward(
            list(map(box, answers)), answer=["x^2+1"] * 512
        )
    seconds = time.monotonic() - started
    assert not any(rewards) and len(rewards) == 512
    assert seconds <= BATCH_LIMIT + symbolic.GRACE + NOISE
    bar("hostile answers: a batch", 512, f"{rewards.count(None)} not graded, {seconds:.1f} s")

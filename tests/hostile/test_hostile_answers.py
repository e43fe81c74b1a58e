"""Three hundred hostile answers: none is right, nothing raises, every one is graded within 2 s."""

import time

import pytest
from helpers.grading import box, example
from helpers.hostile import hostile_answers

from flowtracer.math_answers import symbolic
from flowtracer.tasks import grade_choice, grade_countdown, grade_math, grade_minerva, grade_number

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

"""Whether one response is right, where its problem or a reference answer says so."""

import re

from flowtracer.math_answers.equality import equal
from flowtracer.math_answers.symbolic import Ungraded
from flowtracer.tasks.grading import grade_countdown
from flowtracer.tasks.task import Example

_COUNTDOWN = re.compile(r"Make (\d{1,9}) from (\d{1,9}(?:, \d{1,9}){1,9})\.")


def grade_known(
    question: str, response: str, answer: str, reference: str | None = None
) -> bool | None:
    """Whether the response is right; None where nobody knows.

    With a reference: whether `answer`, what a rule found in the response, is equal to it; of a reference
    that ends in "#### 42" (GSM8K) to what follows. Without one: whether the response solves the
    Countdown problem ("Make 4 from 16, 20, 24.") that the question is.
    """
    if reference is not None:
        try:
            return equal(reference.rpartition("####")[2].strip(), answer)
        except Ungraded:
            return None
    problem = _COUNTDOWN.fullmatch(question.strip())
    if problem is None:
        return None
    numbers = [int(number) for number in problem[2].split(",")]
    example = Example("", question, "", {"numbers": numbers, "target": int(problem[1])})
    return grade_countdown(response, example) > 0

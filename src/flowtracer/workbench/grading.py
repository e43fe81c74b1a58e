"""Whether a response solves its problem, where the problem says so itself."""

import re

from flowtracer.models import EMBEDDED, Loaded
from flowtracer.tasks.grading import grade_countdown
from flowtracer.tasks.task import Example
from flowtracer.workbench.texts import Text

_COUNTDOWN = re.compile(r"Make ([0-9]{1,4}) from ([0-9]{1,4}(?:, ?[0-9]{1,4}){1,9})\s?\.")


def grade(loaded: Loaded, text: Text) -> bool | None:
    """Whether a Countdown problem of the embedded model is solved; None for other texts."""
    problem = _COUNTDOWN.search(text.asked.text)
    if loaded.name != EMBEDDED or not problem or not text.answered.ids:
        return None
    numbers = [int(written) for written in problem[2].split(",")]
    example = Example("", "", "", {"numbers": numbers, "target": problem[1]})
    return grade_countdown(text.answered.text, example) > 0

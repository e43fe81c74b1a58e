"""Whether a response solves its problem, where the problem says so itself."""

from flowtracer.models import EMBEDDED, Loaded
from flowtracer.tasks.known import COUNTDOWN_PROBLEM, solves
from flowtracer.workbench.texts import Text


def grade(loaded: Loaded, text: Text) -> bool | None:
    """Whether a Countdown problem of the embedded model is solved; None for other texts."""
    problem = COUNTDOWN_PROBLEM.search(text.asked.text)
    if loaded.name != EMBEDDED or problem is None or not text.answered.ids:
        return None
    return solves(problem, text.answered.text)

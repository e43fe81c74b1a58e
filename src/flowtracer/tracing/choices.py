"""What can be chosen for a trace, checked before a model is loaded or asked."""

from collections.abc import Sequence

from flowtracer.regions import AnswerRule, TokenPositions, find_answer
from flowtracer.regions.prompts import Question
from flowtracer.scorers.scorer import check_choice
from flowtracer.scorers.table import find_scorer


def check_choices(
    *, answer: AnswerRule | TokenPositions, question: str, scorers: Sequence[str] = ()
) -> None:
    """Raise ValueError for a choice that does not exist, or a scorer that cannot score a response.

    `ScoreOptions` checks its own.
    """
    if isinstance(answer, str):
        find_answer("", answer)
    check_choice("question", question, Question)
    for name in scorers:
        find_scorer(name, side="response")

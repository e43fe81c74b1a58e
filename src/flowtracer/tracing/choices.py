"""What can be chosen for a trace, checked before a model is loaded or run."""

from flowtracer.attention.layers import Layers, check_layers
from flowtracer.flow.targeted import AnswerTokens
from flowtracer.regions import AnswerRule, TokenPositions, find_answer
from flowtracer.regions.prompts import Question
from flowtracer.scorers.scorer import check_choice


def check_choices(
    *, answer: AnswerRule | TokenPositions, question: str, answer_tokens: str, layers: Layers
) -> None:
    """Raise ValueError for a choice that does not exist."""
    if isinstance(answer, str):
        find_answer("", answer)
    check_choice("question", question, Question)
    check_choice("answer_tokens", answer_tokens, AnswerTokens)
    check_layers(layers)

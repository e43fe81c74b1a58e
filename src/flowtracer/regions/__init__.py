"""Where the question, the response and the answer are: on the text, and on tokens."""

from flowtracer.regions.answers import (
    ANSWER_RULES,
    AnswerRule,
    Span,
    find_answer,
    opened_thought,
    rule_name,
)
from flowtracer.regions.offsets import (
    TokenizedText,
    decode_all_with_offsets,
    decode_text,
    decode_with_offsets,
    encode_with_offsets,
)
from flowtracer.regions.prompts import Prompt, render_prompt, tokenize_prompt, user_spans
from flowtracer.regions.reading import ReadTokens, read_all
from flowtracer.regions.tokens import TokenPositions, answer_weights, token_weights

__all__ = [
    "ANSWER_RULES",
    "AnswerRule",
    "Prompt",
    "ReadTokens",
    "Span",
    "TokenPositions",
    "TokenizedText",
    "answer_weights",
    "decode_all_with_offsets",
    "decode_text",
    "decode_with_offsets",
    "encode_with_offsets",
    "find_answer",
    "opened_thought",
    "read_all",
    "render_prompt",
    "rule_name",
    "token_weights",
    "tokenize_prompt",
    "user_spans",
]

"""Where the question, the response and the answer are: on the text, and on tokens.

Names are imported when they are first used: what needs no tensors loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowtracer.regions.answers import (
        ANSWER_RULES,
        AnswerRule,
        Span,
        find_answer,
        matched_rule,
        opened_thought,
        rule_name,
    )
    from flowtracer.regions.offsets import (
        TokenizedText,
        decode_all_with_offsets,
        decode_text,
        decode_with_offsets,
        encode_with_offsets,
        first_unknown,
    )
    from flowtracer.regions.prompts import (
        Prompt,
        render_prompt,
        tokenize_prompt,
        user_spans,
    )
    from flowtracer.regions.reading import (
        ReadTokens,
        read_all,
    )
    from flowtracer.regions.tokens import (
        TokenPositions,
        answer_weights,
        token_weights,
    )

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
    "first_unknown",
    "matched_rule",
    "opened_thought",
    "read_all",
    "render_prompt",
    "rule_name",
    "token_weights",
    "tokenize_prompt",
    "user_spans",
]
_MODULES = {
    "answers": (
        "ANSWER_RULES",
        "AnswerRule",
        "Span",
        "find_answer",
        "matched_rule",
        "opened_thought",
        "rule_name",
    ),
    "offsets": (
        "TokenizedText",
        "decode_all_with_offsets",
        "decode_text",
        "decode_with_offsets",
        "encode_with_offsets",
        "first_unknown",
    ),
    "prompts": (
        "Prompt",
        "render_prompt",
        "tokenize_prompt",
        "user_spans",
    ),
    "reading": (
        "ReadTokens",
        "read_all",
    ),
    "tokens": (
        "TokenPositions",
        "answer_weights",
        "token_weights",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'flowtracer.regions' has no attribute {name!r}")
    return getattr(import_module(f"flowtracer.regions.{_HOME[name]}"), name)

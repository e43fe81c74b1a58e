"""The prompt as the model sees it, and which part of it the user wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from flowtracer.regions.answers import Span
from flowtracer.regions.offsets import TokenizedText, decode_with_offsets, encode_with_offsets

Message = dict[str, str]
Question = Literal["prompt", "user"]  # where flow enters: the whole prompt, or the user's messages


@dataclass(frozen=True)
class Prompt:
    """Rendered prompt."""

    text: str
    messages: tuple[Message, ...]
    has_template: bool  # rendered by a chat template, which brings its own special tokens


def render_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str | Sequence[Message], *, chat: bool | None = None
) -> Prompt:
    """Render a user's message, or a conversation, up to where the model is to answer.

    chat: None uses the tokenizer's chat template if there is one; False takes a string as it is.

    Raises ValueError for an empty prompt, a malformed conversation, or one without a template.
    """
    if isinstance(prompt, str):
        if not prompt.strip():
            raise ValueError("the prompt is empty; give the problem's text")
        messages: list[Message] = [{"role": "user", "content": prompt}]
    else:
        messages = list(prompt)
        if not messages or not all(
            isinstance(message, dict)
            and isinstance(message.get("content"), str)
            and "role" in message
            for message in messages
        ):
            raise ValueError(
                "the prompt must be a text or a list of {'role': ..., 'content': ...} messages"
            )
    template = bool(getattr(tokenizer, "chat_template", None))
    if isinstance(prompt, str) and (chat is False or not template):
        if chat:
            raise ValueError("this tokenizer has no chat template; pass chat=False")
        return Prompt(prompt, tuple(messages), has_template=False)
    if not template:
        raise ValueError("this tokenizer has no chat template; pass the prompt as one text")
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert isinstance(text, str)
    return Prompt(text, tuple(messages), has_template=True)


def tokenize_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> TokenizedText:
    """Token ids the model gets, special tokens included and visible in the text."""
    if prompt.has_template:
        return encode_with_offsets(tokenizer, prompt.text)
    return decode_with_offsets(tokenizer, list(tokenizer(prompt.text)["input_ids"]))


def user_spans(text: str, messages: Sequence[Message]) -> list[Span]:
    """Where each user message stands in the prompt's text; templates may trim it."""
    spans = []
    cursor = 0
    for message in messages:
        content = message["content"].strip()
        start = text.find(content, cursor)
        if start < 0:
            continue
        cursor = start + len(content)
        if message["role"] == "user" and content:
            spans.append(Span(start, cursor))
    return spans

"""The prompt as the model sees it, and which part of it the user wrote."""

import ctypes
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from flowtracer.regions.offsets import TokenizedText, decode_with_offsets, encode_with_offsets
from flowtracer.regions.spans import Span, trimmed

TEMPLATE_LIMIT = 10.0  # seconds to render a conversation; our choice
MARK = "\ue000user\ue001"  # private characters, which no template trims
CONTEXT = 12  # characters around a message that has to be searched for; our choice

Message = dict[str, Any]  # role, and content: a text, a list of parts, or None beside tool_calls
Question = Literal["prompt", "user"]  # where flow enters: the entire prompt, or the user's messages


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
    messages = as_messages(prompt)
    template = bool(getattr(tokenizer, "chat_template", None))
    if isinstance(prompt, str) and (chat is False or not template):
        if chat:
            raise ValueError("this tokenizer has no chat template; pass chat=False")
        return Prompt(prompt, tuple(messages), has_template=False)
    if not template:
        raise ValueError("this tokenizer has no chat template; pass the prompt as one text")
    return Prompt(render_template(tokenizer, messages), tuple(messages), has_template=True)


def as_messages(prompt: str | Sequence[Message]) -> list[Message]:
    """A conversation, of one message of the user for a text.

    Raises ValueError for an empty prompt or a malformed conversation.
    """
    if isinstance(prompt, str):
        if not prompt.strip():
            raise ValueError("the prompt is empty; give the problem's text")
        return [{"role": "user", "content": prompt}]
    messages = list(prompt)
    if not messages or not all(
        isinstance(message, dict)
        and "role" in message
        and (isinstance(message.get("content"), str | list) or message.get("tool_calls"))
        for message in messages
    ):
        raise ValueError(
            "the prompt must be a text or a list of {'role': ..., 'content': ...} messages"
        )
    return messages


def holds_pictures(conversation: Any) -> bool:
    """Whether a conversation has parts that are pictures or videos."""
    turns = conversation if isinstance(conversation, Sequence) else ()
    contents = [turn.get("content") for turn in turns if isinstance(turn, Mapping)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    kinds = [part.get("type") for part in parts if isinstance(part, Mapping)]
    pictures = ("image", "image_url", "input_image", "video", "video_url")
    return any(kind in pictures for kind in kinds)


def render_template(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    seconds: float = TEMPLATE_LIMIT,
    options: Mapping[str, Any] | None = None,
) -> str:
    """The conversation as the tokenizer's template writes it, up to where the model is to answer.

    options: the template's own, such as `enable_thinking`.

    Raises ValueError if the template fails on it or takes longer than so many seconds.
    """
    text: list[str] = []
    failure: list[BaseException] = []

    def render() -> None:
        try:
            text.append(
                tokenizer.apply_chat_template(  # type: ignore[arg-type]
                    list(messages), add_generation_prompt=True, tokenize=False, **(options or {})
                )
            )
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=render, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
        )
        raise ValueError(
            f"the tokenizer's chat template takes longer than {seconds:g} s; correct the template"
        )
    if failure:
        raise ValueError(
            f"the tokenizer's chat template fails on this conversation "
            f"({type(failure[0]).__name__}: {failure[0]}); correct one of them"
        ) from failure[0]
    return text[0]


def tokenize_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> TokenizedText:
    """Token ids the model gets, special tokens included and visible in the text."""
    if prompt.has_template:
        return encode_with_offsets(tokenizer, prompt.text)
    return decode_with_offsets(tokenizer, list(tokenizer(prompt.text)["input_ids"]))


def user_spans(
    tokenizer: PreTrainedTokenizerBase, text: str, messages: Sequence[Message]
) -> list[Span]:
    """Where each user message is in the prompt's text, without blanks at its ends.

    Taken from the template: the conversation is rendered with each message and with a mark in its
    place. What precedes or follows the messages may differ in `text` (tools, a cut). A message
    that cannot be placed so is left out.
    """
    content = messages[0].get("content") if len(messages) == 1 else None
    if isinstance(content, str) and text.endswith(content):  # without a template
        return trimmed(text, len(text) - len(content), len(text))
    try:
        rendered = render_template(tokenizer, messages)
        spans = [
            span
            for number, message in enumerate(messages)
            if message.get("role") == "user"
            for span in _message_span(tokenizer, rendered, messages, number)
        ]
    except ValueError:  # no template, or one that does not take the conversation
        return []
    return _moved(spans, rendered, text, pictures=holds_pictures(messages))


def _message_span(
    tokenizer: PreTrainedTokenizerBase, rendered: str, messages: Sequence[Message], number: int
) -> list[Span]:
    """Where one message is in the rendered conversation."""
    marked = [*messages[:number], {**messages[number], "content": MARK}, *messages[number + 1 :]]
    before, mark, after = render_template(tokenizer, marked).partition(MARK)
    if not mark or not rendered.startswith(before) or not rendered.endswith(after):
        return []
    return trimmed(rendered, len(before), len(rendered) - len(after))


def _moved(
    spans: Iterable[Span], rendered: str, text: str, *, pictures: bool = False
) -> list[Span]:
    """Spans of the rendered conversation, found again in a text that is nearly the same.

    pictures: whether it may have more inside of a span, where pictures are written out in tokens.

    Blanks do not count: some tokenizers decode with other ones around special tokens.
    """
    (rendered, positions), (text, targets) = _without_blanks(rendered), _without_blanks(text)
    same_start = _common_start(rendered, text)
    same_end = len(rendered) - _common_start(rendered[::-1], text[::-1])
    moved = []
    for span in spans:
        start, stop = bisect_left(positions, span.start), bisect_left(positions, span.stop)
        first = max(0, start - CONTEXT)
        surrounded = rendered[first : stop + CONTEXT]
        if stop <= same_start:
            shift = 0
        elif start >= same_end:
            shift = len(text) - len(rendered)
        elif pictures and start <= same_start and stop >= same_end:
            moved.append(Span(targets[start], targets[stop + len(text) - len(rendered) - 1] + 1))
            continue
        elif text.count(surrounded) == 1:
            shift = text.index(surrounded) - first
        else:
            continue
        moved.append(Span(targets[start + shift], targets[stop + shift - 1] + 1))
    return moved


def _without_blanks(text: str) -> tuple[str, list[int]]:
    """The text without blanks, and the original position of each character."""
    positions = [position for position, sign in enumerate(text) if not sign.isspace()]
    return "".join(text[position] for position in positions), positions


def _common_start(a: str, b: str) -> int:
    """How many characters two texts have in common at their start."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((number for number, (x, y) in pairs if x != y), min(len(a), len(b)))

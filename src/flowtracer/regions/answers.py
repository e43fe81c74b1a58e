"""Where the answer is in a response: a table of rules from text to weighted spans.

Rules read text only. No answer is an empty list, never an exception, so that one odd response
cannot stop a training step. All rules take time linear in the text.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Characters start..stop of the response, and how strongly they draw flow."""

    start: int
    stop: int
    weight: float = 1.0


LONGEST_STATED = 200  # characters, our choice: a longer sentence is an explanation

AnswerRule = str | re.Pattern[str] | Callable[[str], object] | Sequence[Span]

_BOX = re.compile(r"\\boxed\s*\{")
_BOX_OR_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_GSM8K = re.compile(r"####[ \t]*([^\s#][^\n]*)")
_LETTER_IN_BOX = re.compile(r"^(?:\\(?:text|textbf|mathrm|mathbf)\{)?[\s(\[*]*([A-Z])(?![A-Za-z])")
# Repetitions are bounded: unbounded ones take cubic time on a long run of blanks.
_STATED_LETTER = re.compile(
    r"(?i:answer|choice|option)(?i:\s{1,3}is)?\s{0,3}:?\s{0,3}\*{0,2}\s{0,3}[(\[]?([A-Z])(?![A-Za-z])"
)
_STATED = re.compile(r"(?i)\banswer[ \t*_]{0,4}(?:is\b|=|:)[ \t:*_]{0,6}")
_SENTENCE_END = re.compile(r"[*_ \t]{0,4}(?:[.!][*_]{0,3}(?:\s|\Z)|\Z)")
_TOOL_CALL = re.compile(r"<tool_call>((?:(?!<tool_call>).){0,20000}?)</tool_call>", re.DOTALL)
_ARGUMENTS = re.compile(r'"arguments"\s{0,3}:\s{0,3}')
_BARE_LETTER = re.compile(r"^[ \t(\[*]{0,8}([A-Z])[ \t)\].:*]{0,8}$", re.MULTILINE)


def find_answer(text: str, rule: AnswerRule = "auto") -> list[Span]:
    """Spans of the answer in a response; empty if the rule finds none.

    rule: a name out of `ANSWER_RULES` (default "auto", our choice; the paper's is "boxed"),
    "regex:PATTERN" or a compiled pattern (last match, its first group if it has one), a function from
    text to None, one span or several, or the spans themselves. A span is (start, stop) or
    (start, stop, weight).

    Raises ValueError for an unknown rule or a span outside the text.
    """
    if isinstance(rule, re.Pattern):
        return _last_match(text, rule)
    if isinstance(rule, str):
        if rule.startswith("regex:"):
            try:
                return _last_match(text, re.compile(rule[len("regex:") :]))
            except re.error as error:
                raise ValueError(f"answer rule {rule!r} is not a valid pattern: {error}") from None
        if rule not in ANSWER_RULES:
            known = ", ".join(ANSWER_RULES)
            raise ValueError(f"answer rule {rule!r} is unknown; use {known} or regex:PATTERN")
        return ANSWER_RULES[rule](text)
    return _checked(rule(text) if callable(rule) else rule, text)


def rule_name(rule: AnswerRule) -> str:
    """A rule for messages and records."""
    if isinstance(rule, str):
        return rule
    if isinstance(rule, re.Pattern):
        return f"regex:{rule.pattern}"
    return getattr(rule, "__name__", "function") if callable(rule) else "given spans"


def last_box(text: str) -> list[Span]:
    r"""Content of the last `\boxed{...}` whose braces balance; `\{` and `\}` do not count."""
    box = _last_balanced_box(text)
    return _trimmed(text, box[1], box[2]) if box else []


def line_of_box(text: str) -> list[Span]:
    """The whole line (or lines) that the box stands on."""
    box = _last_balanced_box(text)
    if not box:
        return []
    stop = text.find("\n", box[2])
    return _trimmed(text, text.rfind("\n", 0, box[0]) + 1, len(text) if stop < 0 else stop)


def explained_box(text: str) -> list[Span]:
    """The paragraph that the box closes: the answer with its explanation (our reading)."""
    box = _last_balanced_box(text)
    if not box:
        return []
    stop = text.find("\n", box[2])
    start = text.rfind("\n\n", 0, box[0])
    return _trimmed(text, 0 if start < 0 else start + 2, len(text) if stop < 0 else stop)


def choice_letter(text: str) -> list[Span]:
    """The letter of a multiple choice: in the box, else as stated last, else alone on a line."""
    for span in last_box(text):
        letter = _LETTER_IN_BOX.search(text[span.start : span.stop])
        return [Span(span.start + letter.start(1), span.start + letter.end(1))] if letter else []
    return _last_match(text, _STATED_LETTER) or _last_match(text, _BARE_LETTER)


def answer_tag(text: str) -> list[Span]:
    """Content of the last `<answer>...</answer>`."""
    stop = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(stop, 0))
    return _trimmed(text, start + len("<answer>"), stop) if start >= 0 else []


def gsm8k_line(text: str) -> list[Span]:
    """What follows the last `####`."""
    return _last_match(text, _GSM8K)


def stated(text: str) -> list[Span]:
    """What is last said to be the answer, to the end of the sentence: "The answer is 42." """
    for marker in reversed(list(_STATED.finditer(text))):
        limit = min(marker.end() + LONGEST_STATED + 1, len(text))
        line = text.find("\n", marker.end(), limit)
        end = _SENTENCE_END.search(text, marker.end(), limit if line < 0 else line)
        spans = _trimmed(text, marker.end(), end.start()) if end else []
        if spans and spans[0].stop - spans[0].start <= LONGEST_STATED:
            return spans
    return []


def tool_arguments(text: str) -> list[Span]:
    """The arguments of every `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` (Qwen, Hermes).

    Of each call what follows its first `"arguments":`, to the call's last brace.
    """
    spans: list[Span] = []
    for call in _TOOL_CALL.finditer(text):
        inside = call.group(1)
        marker = _ARGUMENTS.search(inside)
        stop = inside.rstrip().rfind("}")
        if marker and stop > marker.end():
            spans += _trimmed(text, call.start(1) + marker.end(), call.start(1) + stop)
    return spans


def last_line(text: str) -> list[Span]:
    """The last line that is not blank."""
    stop = len(text.rstrip())
    return _trimmed(text, text.rfind("\n", 0, stop) + 1, stop)


def first_that_finds(text: str) -> list[Span]:
    """The first of box, tag, `####` and stated answer that finds something, in this order.

    A last line alone is no answer: a response that was cut off has one too.
    """
    return last_box(text) or answer_tag(text) or gsm8k_line(text) or stated(text)


ANSWER_RULES: dict[str, Callable[[str], list[Span]]] = {
    "boxed": last_box,
    "line": line_of_box,
    "explained": explained_box,
    "choice": choice_letter,
    "tag": answer_tag,
    "gsm8k": gsm8k_line,
    "stated": stated,
    "tool-call": tool_arguments,
    "last-line": last_line,
    "auto": first_that_finds,
}


def _last_balanced_box(text: str) -> tuple[int, int, int] | None:
    """Start of the box, start of its content, end of its content; one pass over the text."""
    open_braces: list[tuple[int, int] | None] = []  # box start and content start, None: plain brace
    best: tuple[int, int, int] | None = None
    for match in _BOX_OR_BRACE.finditer(text):
        token = match.group()
        if token.startswith("\\boxed"):
            open_braces.append((match.start(), match.end()))
        elif token == "{":
            open_braces.append(None)
        elif token == "}" and open_braces:
            box = open_braces.pop()
            later = box and (best is None or box[0] > best[0])
            if box and later and text[box[1] : match.start()].strip():
                best = (*box, match.start())
    return best


def _last_match(text: str, pattern: re.Pattern[str]) -> list[Span]:
    """The last match that is not blank; its first group where the pattern has one."""
    group = 1 if pattern.groups else 0
    spans: list[Span] = []
    for match in pattern.finditer(text):
        if match.start(group) >= 0:
            spans = _trimmed(text, *match.span(group)) or spans
    return spans


def _trimmed(text: str, start: int, stop: int) -> list[Span]:
    """The span without blanks at its ends; nothing if only blanks remain."""
    inside = text[start:stop]
    start += len(inside) - len(inside.lstrip())
    stop = start + len(inside.strip())
    return [Span(start, stop)] if stop > start else []


def _checked(answer: object, text: str) -> list[Span]:
    """Spans out of what a function returned or the user passed."""
    if answer is None:
        return []
    single = isinstance(answer, tuple) and answer and isinstance(answer[0], int)
    try:
        spans = [Span(*span) for span in ([answer] if single else answer)]  # type: ignore[attr-defined]
        fits = [
            0 <= span.start < span.stop <= len(text) and 0 < span.weight < float("inf")
            for span in spans
        ]
    except TypeError:
        raise ValueError(
            f"an answer must be (start, stop), (start, stop, weight) or a list of them, not {answer!r}"
        ) from None
    if not all(fits):
        raise ValueError(
            f"answer span {tuple(spans[fits.index(False)])} does not fit a response of {len(text)} "
            "characters (start < stop, weight > 0)"
        )
    return spans

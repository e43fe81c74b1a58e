"""Where the answer is in a response: a table of rules from text to weighted spans.

Rules read text only. No answer is an empty list, never an exception, so that one odd response
cannot stop a training step. All rules take time linear in the text.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial

import regex

from flowtracer.regions.boxes import explained_box, last_box, line_of_box
from flowtracer.regions.spans import (
    Span,
    last_match,
    last_span,
    matches_at,
    occurrences,
    timed_pattern,
    trimmed,
)
from flowtracer.regions.statements import bare_letter, choice_letter, stated, stated_letter

AnswerRule = str | re.Pattern[str] | Callable[[str], object] | Sequence[Span]

_GSM8K = re.compile(r"####[ \t]*([^\s#][^\n]*)")
_TOOL_CALL = re.compile(r"<tool_call>((?:(?!<tool_call>).){0,20000}?)</tool_call>", re.DOTALL)
_ARGUMENTS = re.compile(r'"arguments"\s{0,3}:\s{0,3}')
_OPENING_TAGS = ("<think>", "<thinking>", "[THINK]")
_CLOSING_TAGS = ("</think>", "</thinking>", "[/THINK]")


def find_answer(text: str, rule: AnswerRule = "auto", *, thinking: bool = False) -> list[Span]:
    """Spans of the answer in a response; empty if the rule finds none.

    rule: a name in `ANSWER_RULES` (default "auto", our choice; the paper's is "boxed"),
    "regex:PATTERN" or a compiled pattern (last match, its first group if it has one), a function from
    text to None, one span or several, or the spans themselves. A span is (start, stop) or
    (start, stop, weight).

    thinking: whether the prompt opened a thought in which the response begins, see `opened_thought`.

    Rules and patterns search only after the last `</think>`; a thought that is not closed has no
    answer. A pattern that takes longer than `spans.REGEX_LIMIT` finds none, with a warning.

    Raises ValueError for an unknown rule or a span outside the text.
    """
    if not isinstance(rule, str | re.Pattern):
        return _checked(rule(text) if callable(rule) else rule, text)
    function = _named(rule)
    start = 0 if rule in _EVERY_TURN else _after_thinking(text, thinking)
    if start is None:
        return []
    return [
        span._replace(start=span.start + start, stop=span.stop + start)
        for span in function(text[start:])
    ]


def rule_name(rule: AnswerRule) -> str:
    """A rule for messages and records."""
    if isinstance(rule, str):
        return rule
    if isinstance(rule, re.Pattern):
        return f"regex:{rule.pattern}"
    return getattr(rule, "__name__", "function") if callable(rule) else "given spans"


def matched_rule(text: str, rule: AnswerRule = "auto", *, thinking: bool = False) -> str:
    """The name of the rule that finds the answer: of "auto" the one of its rules that does."""
    start = _after_thinking(text, thinking)
    if rule != "auto" or start is None:
        return rule_name(rule)
    text = text[start:]
    for name in ("boxed", "tag", "gsm8k"):
        if ANSWER_RULES[name](text):
            return name
    answer = first_that_finds(text)
    return rule_name(rule) if not answer else "stated" if answer == stated(text) else "choice"


def _named(rule: str | re.Pattern[str]) -> Callable[[str], list[Span]]:
    """The function of a rule that is a name or a pattern."""
    if isinstance(rule, str) and not rule.startswith("regex:"):
        if rule not in ANSWER_RULES:
            known = ", ".join(ANSWER_RULES)
            raise ValueError(f"answer rule {rule!r} is unknown; use {known} or regex:PATTERN")
        return ANSWER_RULES[rule]
    written = rule[len("regex:") :] if isinstance(rule, str) else rule.pattern
    flags = 0 if isinstance(rule, str) else rule.flags
    try:
        return partial(last_match, pattern=timed_pattern(written, flags))
    except regex.error as error:
        raise ValueError(f"answer rule {rule!r} is not a valid pattern: {error}") from None


def opened_thought(prompt: str) -> str:
    """The tag at the end of a prompt that opens a thought, in which the response begins; else ""."""
    end = prompt.rstrip()
    return next((tag for tag in _OPENING_TAGS if end.endswith(tag)), "")


def _after_thinking(text: str, thinking: bool) -> int | None:
    """Where the text behind the last thought starts; None if a thought is not closed."""
    start, tag = max((text.rfind(tag), tag) for tag in _OPENING_TAGS + _CLOSING_TAGS)
    if start < 0:
        return None if thinking else 0
    return start + len(tag) if tag in _CLOSING_TAGS else None


def answer_tag(text: str) -> list[Span]:
    """Content of the last `<answer>...</answer>`."""
    stop = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(stop, 0))
    return trimmed(text, start + len("<answer>"), stop) if start >= 0 else []


def gsm8k_line(text: str) -> list[Span]:
    """What follows the last `####`, without the asterisks of bold print."""
    return [
        inside
        for span in last_span(text, matches_at(text, _GSM8K, occurrences(text, "####")))
        for inside in trimmed(text, span.start, span.stop, " \t\r*")
    ]


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
            spans += trimmed(text, call.start(1) + marker.end(), call.start(1) + stop)
    return spans


def last_line(text: str) -> list[Span]:
    """The last line that is not blank."""
    stop = len(text.rstrip())
    return trimmed(text, text.rfind("\n", 0, stop) + 1, stop)


def first_that_finds(text: str) -> list[Span]:
    """The first of box, tag, `####`, stated answer and option that finds something, in this order.

    Of an answer that is stated as an option only the letter. A last line alone is no answer: a
    response that was cut off has one too.
    """
    for rule in (last_box, answer_tag, gsm8k_line):
        if spans := rule(text):
            return spans
    sentence, letter = stated(text), stated_letter(text)
    if sentence and letter and sentence[0].start <= letter[0].start < sentence[0].stop:
        return letter
    return sentence or letter or bare_letter(text)  # without a box, as `choice_letter`


ANSWER_RULES: dict[str, Callable[[str], list[Span]]] = {
    "auto": first_that_finds,
    "boxed": last_box,
    "line": line_of_box,
    "explained": explained_box,
    "choice": choice_letter,
    "stated": stated,
    "tag": answer_tag,
    "gsm8k": gsm8k_line,
    "tool-call": tool_arguments,
    "last-line": last_line,
}
_EVERY_TURN = ("tool-call",)  # rules that search every turn of a response, thoughts included


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

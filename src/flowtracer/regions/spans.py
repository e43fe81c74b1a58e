"""Spans of characters, and how patterns find them in bounded time."""

import re
import warnings
from functools import cache
from typing import NamedTuple

import regex

REGEX_LIMIT = 0.2  # seconds that a user's pattern may take on a response; our choice


class Span(NamedTuple):
    """Characters start..stop of the response, and how strongly they draw flow."""

    start: int
    stop: int
    weight: float = 1.0


def last_match(text: str, pattern: "re.Pattern[str] | regex.Pattern[str]") -> list[Span]:
    """The last match that is not blank; its first group where the pattern has one."""
    group = 1 if pattern.groups else 0
    spans: list[Span] = []
    try:
        matches = (
            pattern.finditer(text)
            if isinstance(pattern, re.Pattern)
            else pattern.finditer(text, timeout=REGEX_LIMIT)
        )
        for match in matches:
            if match.start(group) >= 0:
                spans = trimmed(text, *match.span(group)) or spans
    except TimeoutError:
        warnings.warn(
            f"the pattern {pattern.pattern!r} took more than {REGEX_LIMIT:g} s on a response, which "
            "counts as one without an answer; write it without nested repetitions",
            stacklevel=4,
        )
        return []
    return spans


def trimmed(text: str, start: int, stop: int, signs: str | None = None) -> list[Span]:
    """The span without blanks, or other signs, at its ends; nothing if only they remain."""
    inside = text[start:stop]
    start += len(inside) - len(inside.lstrip(signs))
    stop = start + len(inside.strip(signs))
    return [Span(start, stop)] if stop > start else []


@cache
def timed_pattern(written: str, flags: int) -> "regex.Pattern[str]":
    """The pattern in the library whose matches can be given a time limit."""
    ascii_only = regex.ASCII if flags & re.ASCII else 0
    return regex.compile(written, flags & (re.I | re.M | re.S | re.X) | ascii_only)

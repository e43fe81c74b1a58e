"""Spans of characters, and how patterns find them in bounded time."""

import re
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

import regex

REGEX_LIMIT = 0.2  # seconds that a user's pattern may take on a response; our choice


class Span(NamedTuple):
    """Characters start..stop of the response, and how strongly they draw flow."""

    start: int
    stop: int
    weight: float = 1.0


def last_match(text: str, pattern: "regex.Pattern[str]") -> list[Span]:
    """The last match of a user's pattern that is not blank; its first group where it has one."""
    group = 1 if pattern.groups else 0
    try:
        return last_span(text, pattern.finditer(text, timeout=REGEX_LIMIT), group)
    except TimeoutError:
        warnings.warn(
            f"the pattern {pattern.pattern!r} took more than {REGEX_LIMIT:g} s on a response, which "
            "counts as one without an answer; write it without nested repetitions",
            stacklevel=4,
        )
        return []


def last_span(
    text: str, matches: "Iterable[re.Match[str] | regex.Match[str]]", group: int = 1
) -> list[Span]:
    """What a group holds in the last of the matches in which it is not blank."""
    spans: list[Span] = []
    for match in matches:
        if match.start(group) >= 0:
            spans = trimmed(text, *match.span(group)) or spans
    return spans


def matches_at(
    text: str, pattern: re.Pattern[str], starts: Iterable[int]
) -> Iterator[re.Match[str]]:
    """What `finditer` finds of a pattern whose matches all begin at these positions, which are in order.

    Ten times as fast where they are few, because `str.find` finds a word faster than a pattern.
    """
    end = 0
    for start in starts:
        if start >= end and (match := pattern.match(text, start)):
            yield match
            end = match.end()


def occurrences(text: str, *words: str) -> list[int]:
    """Where the words begin in the text, in order."""
    starts = []
    for word in words:
        start = text.find(word)
        while start >= 0:
            starts.append(start)
            start = text.find(word, start + 1)
    return sorted(starts)


def folded(text: str) -> str:
    """The text, each character in the lower case that `(?i)` takes it for if that is an ASCII letter."""
    if not text.isascii():
        for letter, lower in ("\u0130i", "\u0131i", "\u017fs"):
            text = text.replace(letter, lower)
    return text.lower()


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

"""Answers that a sentence states, and letters of multiple choices: exactly one option, or none."""

import re
from collections.abc import Iterator

from flowtracer.regions.boxes import last_box
from flowtracer.regions.spans import Span, folded, last_span, matches_at, occurrences, trimmed

LONGEST_STATED = 200  # characters, our choice: a longer sentence is an explanation

# Repetitions are bounded: unbounded ones take cubic time on a long run of blanks.
_LETTER_IN_BOX = re.compile(
    r"(?:\\(?:text|textbf|mathrm|mathbf)\{)?[\s(\[*]{0,4}(?:(?i:option|choice|answer)\s)?[(\[]?([A-Z])"
    r"(?:[\s)\].:}*]{0,4}$|[)\].:]{1,3}[\s}*]{0,4}(?P<text>.*))",
    re.DOTALL,
)
# A letter that a word in lower case follows is a word: I think, A bird.
_STATED_LETTER = re.compile(
    r"(?i:answer|choice|option)(?i:\s{1,3}(?:is|are|would be|must be))?\s{0,3}:?\s{0,3}"
    r"(?i:(?:I think|I believe|probably|likely|most likely|option|choice|indeed|clearly)[\s,]{1,3})?"
    r"[\s*(\[]{0,6}([A-Z])(?![A-Za-z'])(?!\s{1,3}(?!or\b|and\b|because|since|as\b|for\b)[a-z])"
)
_ANOTHER_LETTER = re.compile(  # behind the first: or B, (B), B.
    r"[)\]*.\s]{0,4}(?:[,;/&+\s]{0,3}(?:\\text\{\s?)?(?:or\b|and\b)\s?\}?|[,;/&+]\s?)?[\s*(\[]{0,4}"
    r"([A-Z])(?![A-Za-z'])(?!\s{1,3}[A-Za-z][a-z])"
)
_LETTERED = re.compile(  # another letter in what follows the first: B, or B, (B), B.
    r"(?:^(?:or\s|and\s)?[(\[]?|[\s,;/(\[](?=[A-Z][).:\]](?:\s|$)))([A-Z])(?![A-Za-z'])(?!\s[A-Za-z][a-z])"
)
_STATED = re.compile(r"(?i)\banswer[ \t*_]{0,4}(?:is\b|=|:)[ \t:*_]{0,6}")
_SENTENCE_END = re.compile(r"[*_ \t]{0,4}(?:[.!][*_]{0,3}(?:\s|\Z)|\Z)")
_BARE_LETTER = re.compile(r"^[ \t(\[*]{0,8}([A-Z])[ \t)\].:*]{0,8}$", re.MULTILINE)


def choice_letter(text: str) -> list[Span]:
    """The letter of a multiple choice: in the box, else as stated last, else alone on a line.

    Exactly one option: several, as in "A or B", are none.
    """
    for span in last_box(text):
        letter = _LETTER_IN_BOX.fullmatch(text[span.start : span.stop])
        if not letter or set(_LETTERED.findall(letter["text"] or "")) - {letter[1]}:
            return []
        return [Span(span.start + letter.start(1), span.start + letter.end(1))]
    return stated_letter(text) or bare_letter(text)


def bare_letter(text: str) -> list[Span]:
    """The last letter alone on a line."""
    return last_span(text, matches_at(text, _BARE_LETTER, _lines(text)))


def _lines(text: str) -> Iterator[int]:
    """Where the lines begin."""
    yield 0
    yield from (start + 1 for start in occurrences(text, "\n"))


def stated_letter(text: str) -> list[Span]:
    """The letter behind the last "answer is", "option" or the like."""
    words = occurrences(folded(text), "answer", "choice", "option")
    stated = list(matches_at(text, _STATED_LETTER, words))
    if not stated or _ANOTHER_LETTER.match(text, stated[-1].end()):
        return []
    return [Span(*stated[-1].span(1))]


def stated(text: str) -> list[Span]:
    """What is last said to be the answer, to the end of the sentence: "The answer is 42." """
    markers = matches_at(text, _STATED, occurrences(folded(text), "answer"))
    for marker in reversed(list(markers)):
        limit = min(marker.end() + LONGEST_STATED + 1, len(text))
        line = text.find("\n", marker.end(), limit)
        end = _SENTENCE_END.search(text, marker.end(), limit if line < 0 else line)
        spans = trimmed(text, marker.end(), end.start()) if end else []
        if spans and spans[0].stop - spans[0].start <= LONGEST_STATED:
            return spans
    return []

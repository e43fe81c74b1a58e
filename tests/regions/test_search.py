"""Rules search from positions that `str.find` finds: what they find is what the patterns find."""

import random
import re

import pytest
from helpers.odd_rows import BRACES, odd_text

from flowtracer.regions import find_answer
from flowtracer.regions.answers import _GSM8K
from flowtracer.regions.spans import folded, matches_at, occurrences
from flowtracer.regions.statements import _BARE_LETTER, _STATED, _STATED_LETTER

TEXTS = [odd_text(random.Random(seed), most=30) for seed in range(3000)]
LETTERS = "answer", "choice", "option"
THOUGHT = re.compile(r"<(/?)think(?:ing)?>|\[(/?)THINK\]")
BOX_OR_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)


@pytest.mark.parametrize(
    ("pattern", "starts"),
    [
        (_GSM8K, lambda text: occurrences(text, "####")),
        (_STATED, lambda text: occurrences(folded(text), "answer")),
        (_STATED_LETTER, lambda text: occurrences(folded(text), *LETTERS)),
        (_BARE_LETTER, lambda text: [0, *(start + 1 for start in occurrences(text, "\n"))]),
    ],
)
def test_matches_are_those_of_the_pattern(pattern, starts):
    count = 0
    for text in TEXTS:
        matches = [match.span() for match in matches_at(text, pattern, starts(text))]
        assert matches == [match.span() for match in pattern.finditer(text)]
        count += len(matches)
    assert count > 50


def test_folded_letters_are_those_that_a_pattern_takes_for_them():
    everything = "".join(map(chr, range(0x110000)))
    assert len(folded(everything)) == len(everything)
    for letter in sorted(set("".join(LETTERS))):
        assert [m.start() for m in re.finditer(f"(?i){letter}", everything)] == occurrences(
            folded(everything), letter
        )


def last_box(text):
    """Content of the last box whose braces balance, from a stack of all braces."""
    opened, best = [], None
    for match in BOX_OR_BRACE.finditer(text):
        token = match.group()
        if token.endswith("{") and token != "\\{":
            opened.append((match.start(), match.end()) if token != "{" else None)
        elif token == "}" and opened:
            box = opened.pop()
            if box and text[box[1] : match.start()].strip() and (not best or box[0] > best[0]):
                best = (*box, match.start())
    return best and text[best[1] : best[2]].strip()


def test_boxes_are_those_of_one_pass():
    boxed = 0
    for seed in range(3000):
        text = odd_text(random.Random(seed), most=30, pieces=BRACES)
        spans = find_answer(text, "boxed")
        assert ([text[span.start : span.stop] for span in spans] or [None]) == [last_box(text)]
        boxed += bool(spans)
    assert boxed > 100


def test_thoughts_end_behind_the_last_tag():
    for text in TEXTS:
        last = max(THOUGHT.finditer(text), key=lambda match: match.start(), default=None)
        behind = text if last is None else text[last.end() :] if "/" in last.groups() else ""
        answers = [text[span.start : span.stop] for span in find_answer(text, "regex:(?s).+")]
        assert answers == [behind.strip()] * bool(behind.strip())

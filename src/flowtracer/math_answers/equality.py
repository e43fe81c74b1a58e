"""Whether two mathematical answers are equal: exactly where text decides, else by math-verify.

Most answers are decided here without sympy. What seems too large or too deep for it is rejected
unparsed; what still takes too long is stopped by `symbolic`.
"""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction

from flowtracer.math_answers.symbolic import symbolically_equal
from flowtracer.math_answers.text import clean, key, number, without_fonts, without_unit, words

LONGEST_ANSWER = 300  # characters of a parsed answer; our choice, twice the longest reference
DEEPEST = 12  # nested brackets; our choice, references have at most 5
LARGEST_POWER = (
    1000  # an exponent written in digits; our choice, the largest in a reference is 2,018
)
SAME_DECIMAL = Fraction(1, 1_000_000)  # 0.333333 is 1/3: the six digits that math-verify rounds to

_OPEN, _CLOSE = "([{", ")]}"
_BASED = re.compile(r"([0-9A-F.]+)_\{?[0-9]+\}?")
_CLOCK = re.compile(r"0?([0-9]{1,2}(?::[0-9]{2}){0,2})(am|pm)?")
_POWER = re.compile(r"\^\s{0,3}\{?\s{0,3}[+-]?([0-9]+)")
_TOWER = re.compile(r"[0-9]\s{0,3}\}?\s{0,3}\^[\s{(]{0,6}[0-9]+\s{0,3}\^[\s{(]{0,6}[0-9]")
_BRACKET_POWER = re.compile(  # expands to hundreds of terms
    r"[)}]\s{0,3}\^\s{0,3}\{?\s{0,3}[0-9]{3}"
)
_BIG_FACTORIAL = re.compile(r"[0-9]{4,}[)}\s]{0,6}!|![)}\s]{0,6}!|\)\s{0,3}!.{0,20}\)\s{0,3}!")
_LONG_WORK = re.compile(
    r"\\(?:sum|prod|int|iint|lim|binom|dbinom|tbinom|choose|gcd|Gamma)(?![a-zA-Z])"
)
_NOT_MATHS = re.compile(r"[^\x20-\x7e]|\\(?:boxed|input|include|def|newcommand)|__")

Close = Callable[[Fraction, Fraction], bool]


def equal(
    reference: str,
    answer: str,
    *,
    several: bool = False,
    unit: str = "",
    tolerance: float = 0.0,
    relative: float = 0.0,
) -> bool:
    """Whether `answer` is the reference answer.

    several: the reference lists values that are all required, in any order. unit: a unit that the
    answer may carry. tolerance, relative: how far numbers may be apart, absolutely and as a ratio
    of the reference (default 0: exact). Units and currency signs are not compared.
    """
    if len(answer) > max(LONGEST_ANSWER, 2 * len(reference)) and answer != reference:
        return False
    reference, answer = clean(reference), clean(answer)
    if key(reference) == key(answer):
        return bool(key(answer))

    def close(a: Fraction, b: Fraction) -> bool:
        return a == b or abs(a - b) <= max(Fraction(tolerance), Fraction(relative) * abs(a))

    left = _values(reference, unit, several=several)
    right = _values(answer, unit, several=len(left) > 1)
    if len(left) != len(right):
        return False
    unmatched: list[str] = []
    for value in left:
        match = next((other for other in right if decide(value, other, close)), None)
        if match is None:
            unmatched.append(value)
        else:
            right.remove(match)
    if not unmatched:
        return True
    for value in unmatched:
        if all(
            decide(value, other, close) is False or not is_tame(value, other) for other in right
        ):
            return False
    left, right = ([without_fonts(part) for part in side] for side in (unmatched, right))
    return symbolically_equal(left, right, relative=relative)


def decide(reference: str, answer: str, close: Close) -> bool | None:
    """Whether two cleaned values are equal, or None where only symbolic comparison can tell."""
    if key(reference) == key(answer):
        return bool(key(answer))
    verdicts = (compare(reference, answer, close) for compare in COMPARISONS.values())
    return next((verdict for verdict in verdicts if verdict is not None), None)


def same_number(reference: str, answer: str, close: Close) -> bool | None:
    """Numbers: equal as written, or once a percent sign on one side only is divided out."""
    a, b = number(reference), number(answer)
    if not a or not b:
        return None
    pairs = [(a.value, b.value)]
    if a.percent != b.percent:
        pairs += [(a.value / 100, b.value)] if a.percent else [(a.value, b.value / 100)]
    if any(close(x, y) for x, y in pairs):
        return True
    denominator = a.value.denominator
    endless = pow(10, denominator.bit_length(), denominator) != 0  # no finite decimal
    return endless and b.rounded and any(abs(x - y) <= SAME_DECIMAL * abs(x) for x, y in pairs)


def same_words(reference: str, answer: str, close: Close) -> bool | None:
    """Words and letters of options, in upper or lower case."""
    text = words(reference)
    return None if text is None else text == (words(answer) or answer.lower())


def same_in_base(reference: str, answer: str, close: Close) -> bool | None:
    """Numbers with a base, which math-verify does not read; the answer may leave it out."""
    based = _BASED.fullmatch(key(reference))
    return None if based is None else key(answer) == based[1]


def same_time(reference: str, answer: str, close: Close) -> bool | None:
    """Times of day, which math-verify takes for ratios; a.m. and p.m. may be left out."""
    a, b = (_CLOCK.fullmatch(key(text).replace(".", "").lower()) for text in (reference, answer))
    if not a or (":" not in a[1] and not a[2]):
        return None
    return b is not None and a[1] == b[1] and (not a[2] or not b[2] or a[2] == b[2])


COMPARISONS: dict[str, Callable[[str, str, Close], bool | None]] = {  # in this order
    "numbers": same_number,
    "words": same_words,
    "bases": same_in_base,
    "times of day": same_time,
}


def _values(text: str, unit: str, *, several: bool) -> list[str]:
    """The values of an answer without their units; 1,234 is one unless `several` are requested."""
    text = without_unit(text, unit)
    if not several and number(text):
        return [text]
    return [without_unit(part, unit) for part in parts(text)]


def parts(text: str) -> Iterator[str]:
    r"""The values of a list: split at commas and semicolons outside brackets, \pm 2 being two."""
    text = text.strip()
    if text.startswith("\\{") and text.endswith("\\}"):
        text = text[2:-2].strip()
    depth, start = 0, 0
    for position, sign in enumerate(text + ","):
        if sign in _OPEN:
            depth += 1
        elif sign in _CLOSE:
            depth -= 1
        elif sign in ",;" and (depth == 0 or position == len(text)):
            part = text[start:position].strip()
            start = position + 1
            if part.count("\\pm") == 1 and "\\mp" not in part:
                yield part.replace("\\pm", "+")
                yield part.replace("\\pm", "-")
            else:
                yield part


def is_tame(reference: str, answer: str) -> bool:
    """Whether both are small enough for sympy, judged by their text alone."""
    for text, limit in ((reference, 3 * LONGEST_ANSWER), (answer, LONGEST_ANSWER)):
        if len(text) > max(limit, 2 * len(reference)) or _NOT_MATHS.search(text):
            return False
        depth = deepest = 0
        for sign in text:
            depth += (sign in _OPEN) - (sign in _CLOSE)
            deepest = max(deepest, depth)
        if deepest > DEEPEST or depth != 0 or re.search(r"[0-9]{60}", text):
            return False
    if _TOWER.search(answer) or _BIG_FACTORIAL.search(answer):
        return False
    if _BRACKET_POWER.search(answer) and not _BRACKET_POWER.search(reference):
        return False
    powers = [int(power[1][:9]) for power in _POWER.finditer(answer)]
    allowed = [int(power[1][:9]) for power in _POWER.finditer(reference)]
    if max(powers, default=0) > max(LARGEST_POWER, *allowed, 0):
        return False
    return bool(_LONG_WORK.search(reference)) or not _LONG_WORK.search(answer)


def same_answer(answer: str, other: str) -> bool:
    """Whether two answers are the same text up to spelling, or the same number up to its unit."""
    first, second = clean(answer), clean(other)
    if key(first) == key(second):
        return True
    a, b = (number(without_unit(text)) for text in (first, second))
    return a is not None and b is not None and a.value == b.value

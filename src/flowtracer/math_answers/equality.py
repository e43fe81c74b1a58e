"""Whether two mathematical answers are equal: exactly where text decides, else by math-verify.

Most answers are decided here without sympy. What looks too large or too deep for it is rejected
unparsed; what still takes too long is stopped by `symbolic`.
"""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction

from flowtracer.math_answers.symbolic import symbolically_equal
from flowtracer.math_answers.text import Number, clean, key, number, without_unit, words

LONGEST_ANSWER = 300  # characters of a parsed answer; our choice, twice the longest reference
DEEPEST = 12  # nested brackets; our choice, references have at most 5
LARGEST_POWER = (
    1000  # an exponent written in digits; our choice, the largest in a reference is 2,018
)
SAME_DECIMAL = Fraction(1, 1_000_000)  # 0.333333 is 1/3: the six digits that math-verify rounds to

_OPEN, _CLOSE = "([{", ")]}"
_NAME = (  # of what is asked for: x, m_{\max}, f(x), \angle B E A_1
    r"(?:\\angle\s?)?(?:\\?[a-zA-Z]{1,8}\s?){1,3}(?:_\s?(?:\{[^{}=]{1,12}\}|[a-zA-Z0-9]))?"
    r"(?:\([a-zA-Z0-9, ]{1,9}\))?"
)
_ASSIGNED = re.compile(rf"{_NAME}\s{{0,3}}=([^=]+)")
_BASED = re.compile(r"[0-9A-F]+\s{0,3}_\s{0,3}\{?[0-9]+\}?")
_POWER = re.compile(r"\^\s{0,3}\{?\s{0,3}[+-]?([0-9]+)")
_TOWER = re.compile(r"[0-9]\s{0,3}\}?\s{0,3}\^[\s{(]{0,6}[0-9]+\s{0,3}\^[\s{(]{0,6}[0-9]")
_BRACKET_POWER = re.compile(
    r"[)}]\s{0,3}\^\s{0,3}\{?\s{0,3}[0-9]{3}"
)  # expands to hundreds of terms
_CLOCK = re.compile(r"([0-9]{1,2}(?::[0-9]{2}){1,2})(am|pm)?")
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
    answer may carry. tolerance, relative: how far numbers may be apart, absolutely and as a share
    of the reference (default 0: exact). Units and currency signs are not compared.
    """
    if len(answer) > max(LONGEST_ANSWER, 2 * len(reference)) and answer != reference:
        return False
    reference, answer = clean(reference), clean(answer)
    if key(reference) == key(answer):
        return bool(key(answer))

    def close(a: Fraction, b: Fraction) -> bool:
        return a == b or abs(a - b) <= max(Fraction(tolerance), Fraction(relative) * abs(a))

    single = not several and number(without_unit(reference, unit)) is not None
    left = [reference] if single else list(parts(reference))
    right = [answer] if number(answer) and len(left) == 1 else list(parts(answer))
    if len(left) != len(right):
        if len(left) != 1 or not _tuple(reference):
            return False
        right = [answer]  # 3, 4 for (3, 4): left to math-verify
    left = [without_unit(part, unit) for part in left]
    numeric = all(number(part) for part in left)
    right = [without_unit(part, unit, plain=numeric) for part in right]
    unmatched: list[str] = []
    for one in left:
        found = next((other for other in right if decide(one, other, close)), None)
        if found is None:
            unmatched.append(one)
        else:
            right.remove(found)
    if not unmatched:
        return True
    if not all(any(decide(one, other, close) is None for other in right) for one in unmatched):
        return False
    if not all(is_tame(one, other) for one in unmatched for other in right):
        return False
    unmatched, right = _same_form(unmatched, right)
    return symbolically_equal(unmatched, right, ordered=False, relative=relative)


def decide(reference: str, answer: str, close: Close) -> bool | None:
    """Whether two cleaned answers are equal, or None where only symbolic comparison can tell."""
    if key(reference) == key(answer):
        return bool(key(answer))
    (reference,), (answer,) = _same_form([reference], [answer])
    if key(reference) == key(answer):
        return bool(key(answer))
    a, b = number(reference), number(answer)
    if a and b:
        return _same_number(a, b, close)
    text = words(reference)
    if text:
        return text == (words(answer) or answer.lower())
    if _BASED.fullmatch(reference):  # math-verify does not read the base
        return key(answer) == key(reference).partition("_")[0]
    time = _clock(reference)
    if time:  # math-verify takes it for a ratio; a.m. and p.m. may be left out
        other = _clock(answer)
        return (
            other is not None
            and time[0] == other[0]
            and ("" in (time[1], other[1]) or time[1] == other[1])
        )
    inside, given = _tuple(reference), _tuple(answer)
    if inside and given:
        if inside[0] != given[0] or len(inside[1]) != len(given[1]):
            return False
        verdicts = [decide(x, y, close) for x, y in zip(inside[1], given[1], strict=True)]
        return False if False in verdicts else None if None in verdicts else True
    return None


def _clock(text: str) -> tuple[str, str] | None:
    """Hours and minutes, and am, pm or nothing; None for what is no time of day."""
    found = _CLOCK.fullmatch(key(text).replace(".", "").lower())
    return (found[1].lstrip("0"), found[2] or "") if found else None


def _same_number(a: Number, b: Number, close: Close) -> bool:
    """Equal as written, or once a percent sign on one side only is divided out."""
    pairs = [(a.value, b.value)]
    if a.percent != b.percent:
        pairs += [(a.value / 100, b.value)] if a.percent else [(a.value, b.value / 100)]
    if any(close(x, y) for x, y in pairs):
        return True
    endless = a.value.denominator // _two_and_five(a.value.denominator) > 1
    return endless and b.rounded and any(abs(x - y) <= SAME_DECIMAL * abs(x) for x, y in pairs)


def _two_and_five(denominator: int) -> int:
    """The part of a denominator that a finite decimal can have."""
    part = 1
    for factor in (2, 5):
        while denominator % factor == 0:
            denominator //= factor
            part *= factor
    return part


def parts(text: str) -> Iterator[str]:
    r"""The values of a list: split at commas and semicolons outside brackets, \pm 2 being two."""
    text = _bare(text)
    depth, start = 0, 0
    for place, sign in enumerate(text + ","):
        if sign in _OPEN:
            depth += 1
        elif sign in _CLOSE:
            depth -= 1
        elif sign in ",;" and (depth == 0 or place == len(text)):
            part = text[start:place].strip()
            start = place + 1
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
    powers = [int(found.group(1)[:9]) for found in _POWER.finditer(answer)]
    allowed = [int(found.group(1)[:9]) for found in _POWER.finditer(reference)]
    if max(powers, default=0) > max(LARGEST_POWER, *allowed, 0):
        return False
    return bool(_LONG_WORK.search(reference)) or not _LONG_WORK.search(answer)


def _bare(text: str) -> str:
    r"""The inside of \{...\} or of an unbracketed list."""
    text = text.strip()
    if text.startswith("\\{") and text.endswith("\\}"):
        return text[2:-2].strip()
    return text


def _tuple(text: str) -> tuple[str, list[str]] | None:
    """The brackets and the parts of (1, 2) or [0, 1); None for anything else."""
    if len(text) < 3 or text[0] not in "([" or text[-1] not in ")]":
        return None
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign in _OPEN) - (sign in _CLOSE)
        if depth == 0 and place < len(text) - 1:
            return None  # (a+5)(b+2)
    inside = list(parts(text[1:-1]))
    return (text[0] + text[-1], inside) if len(inside) > 1 else None


def _same_form(references: list[str], answers: list[str]) -> tuple[list[str], list[str]]:
    """x = 5 and 5 are the same answer: the name is dropped where the other side has none."""

    def value(text: str) -> str:
        found = _ASSIGNED.fullmatch(text)
        return found.group(1).strip() if found else text

    if any("=" not in text for text in answers):
        references = [value(text) for text in references]
    if any("=" not in text for text in references):
        answers = [value(text) for text in answers]
    return references, answers


def same_answer(one: str, other: str) -> bool:
    """Whether two answers are the same text up to spelling, or the same number up to its unit."""
    first, second = clean(one), clean(other)
    if key(first) == key(second):
        return True
    numbers = [number(without_unit(text, plain=True)) for text in (first, second)]
    return None not in numbers and numbers[0].value == numbers[1].value  # type: ignore[union-attr]

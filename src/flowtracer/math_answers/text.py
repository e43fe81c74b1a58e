"""Mathematical answers as text: one spelling for what is written in many ways, and plain numbers.

Nothing here parses or evaluates more than a written number, so every function takes time linear in
the text, whatever a model wrote. Each rule is there because pairs of tests/math_answers need it
(results/graders shows which); what math-verify reads by itself is left to it.
"""

import re
from fractions import Fraction
from typing import NamedTuple

LONGEST_NUMBER = 120  # characters; our choice, far above every reference answer
LARGEST_EXPONENT = 400  # our choice: beyond the range of double precision

# In this order. Repetitions are bounded, so that no text takes quadratic time.
SPELLINGS: dict[str, tuple[re.Pattern[str], str]] = {
    "minus sign": (re.compile("[−–]"), "-"),
    "times sign": (re.compile("×"), r"\\times "),
    "pi sign": (re.compile("π"), r"\\pi "),
    "infinity sign": (re.compile("∞"), r"\\infty "),
    "degree sign": (re.compile("°"), r"^\\circ "),
    "at most sign": (re.compile("≤"), r"\\le "),
    "at least sign": (re.compile("≥"), r"\\ge "),
    "union sign": (re.compile("∪"), r"\\cup "),
    "root sign": (re.compile("√"), r"\\sqrt "),
    "fraction sizes": (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    "sizes": (
        re.compile(r"\\(?:left|right|displaystyle|q?quad|[bB]igg?[lr]?)(?![a-zA-Z])"),
        " ",
    ),
    "braced comma": (re.compile(r"\{,\}"), ","),
    "blanks": (re.compile(r"(?<!\\)\\[!,;:> ]|~"), " "),
    "currency": (re.compile(r"\\?[$€£]"), ""),
    "percent": (re.compile(r"\\?%"), "%"),
    "and, or": (
        re.compile(r"\\(?:text|mbox)\s{0,3}\{[\s,]{0,3}(?:and|or)\s{0,3}\}|\s(?:and|or)\s"),
        ",",
    ),
    "two commas": (re.compile(r",\s{0,3},"), ","),
    "degrees": (re.compile(r"\^\s{0,3}\{?\s{0,3}\\circ(?![a-zA-Z])\s{0,3}\}?"), ""),
    "prime": (re.compile(r"\^\s{0,3}\{\s{0,3}\\prime\s{0,3}\}"), "'"),
    "numpy": (re.compile(r"\bnp\."), r"\\"),  # MinervaMath has np.arcsin
    "short fractions": (
        re.compile(r"\\frac\s{0,3}([0-9a-zA-Z]|\\pi)\s{0,3}([0-9a-zA-Z]|\\pi)"),
        r"\\frac{\1}{\2}",
    ),
    "power": (re.compile(r"(?<=\w)\*\*(?=\w)"), "^"),
    "braces of one sign": (re.compile(r"([\^_])\s{0,3}\{([0-9a-zA-Z])\}"), r"\1\2"),
}
_WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mbox|boldsymbol)\s{0,3}\{([^{}]*)\}"
)
_LEADING = re.compile(
    r"^(?:\\(?:approx|simeq|sim)(?![a-zA-Z])|[a-zA-Z]\s{0,3}\\in(?![a-zA-Z])|=)\s{0,3}"
)
# A unit ends the answer: \text{ cm}^2, \mathrm{~cm} or plain words. a.m. and p.m. are no units.
_UNIT = re.compile(
    r"\\(?:text|textrm|textnormal|mathrm|mbox|operatorname)\s{0,3}\{(?!\s{0,3}[ap]\.?\s?m\b)[^{}]{1,40}\}"
    r"\s{0,3}(?:\^\s{0,3}\{?-?[0-9]\}?)?[/.]?$"
)  # fmt: skip
# Plain words are a unit only if they cannot be a product of variables, as xy is.
_PLAIN_UNIT = re.compile(
    r"(?<=[0-9}])\s{0,3}(?:(?:cm|mm|km|kg|ft|in|mi|yd|lbs?|oz|hrs?|min|secs?|ml|mph|Hz)(?![a-zA-Z])"
    r"|[a-zA-Z]{4,20}|(?<=\s)[msghLVWNJK](?![a-zA-Z]))"
    r"(?:[\s/]{1,3}[a-zA-Z]{1,20}){0,3}(?:\^[0-9])?$"
)
_BLANKS = re.compile(r"(?<![0-9])\s+|\s+(?![0-9])")
_WORDS = re.compile(r"[a-zA-Z][a-zA-Z .,'\-]{0,60}")

_DIGITS = r"(?:[0-9]{1,3}(?:,\s{0,3}[0-9]{3})+|[0-9]{1,3}(?:\s[0-9]{3})+|[0-9]+)?(?:\.[0-9]*)?"
_EXPONENT = r"\^\s{0,3}\{?\s{0,3}([+-]?[0-9]{1,6})\s{0,3}\}?"
_POWER = (
    rf"(?:\s{{0,3}}(?:\\times|\\cdot|\*|x)\s{{0,3}}10\s{{0,3}}{_EXPONENT}|[eE]([+-]?[0-9]{{1,6}}))?"
)
_DECIMAL = re.compile(rf"([+-]?)\s{{0,3}}({_DIGITS}){_POWER}")
_TEN_TO = re.compile(rf"([+-]?)\s{{0,3}}10\s{{0,3}}{_EXPONENT}")
_FRACTION = re.compile(
    r"([+-]?)\s{0,3}([0-9]{0,9})\s{0,3}\\frac\s{0,3}\{([^{}]+)\}\s{0,3}\{([^{}]+)\}"
)


class Number(NamedTuple):
    """A written number: its value as written, before a percent sign is taken into account."""

    value: Fraction
    percent: bool = False
    rounded: bool = False  # written with a decimal point or a power of ten


def clean(text: str) -> str:
    """The answer in one spelling: LaTeX variants, signs, currency, degrees and blanks unified."""
    for pattern, spelling in SPELLINGS.values():
        text = pattern.sub(spelling, text)
    text = text.strip(" \t\n*").rstrip(".,").strip()
    wrapped = _WRAPPED.fullmatch(text)
    if wrapped:
        text = wrapped.group(1).strip()
    return _LEADING.sub("", text).strip()


def without_fonts(text: str) -> str:
    r"""The text without \text{}, \mathrm{} and the like around its parts."""
    return _WRAPPED.sub(r"\1", text)


def key(text: str) -> str:
    """What two cleaned answers are compared by: no font commands, blanks only between digits."""
    text = _BLANKS.sub("", without_fonts(text))
    return text.replace("\\cdot", "*").replace("\\times", "*").rstrip(".")


def without_unit(text: str, unit: str = "") -> str:
    """A cleaned answer without the unit it ends with; an answer that is only a unit is kept.

    unit: one that the data names. Plain words, as in 20 miles, are a unit behind a number only.
    """
    shorter = text
    for _ in range(3):  # as in kg m / s
        shorter = _UNIT.sub("", shorter).strip()
    named = key(clean(unit))
    if named and key(shorter).endswith(named):
        # The shortest beginning that leaves just the unit, which may have fonts around it.
        for size in range(max(0, len(shorter) - len(named) - 40), len(shorter)):
            if key(shorter[size:]) == named:
                shorter = shorter[:size].strip()
                break
    amount = _PLAIN_UNIT.sub("", shorter).strip()
    return (amount if number(amount) else shorter) or text


def words(text: str) -> str | None:
    """The answer in lower case if it is words, such as east, or a letter such as (C).

    Three letters or more in a row are a word; fewer may be variables.
    """
    bare = without_fonts(text).strip()
    letter = re.fullmatch(r"\(\s?([A-Z])\s?\)", bare)
    if letter:
        return letter.group(1).lower()
    if not _WORDS.fullmatch(bare) or not re.search(r"[a-zA-Z]{3}", bare):
        return None
    return re.sub(r"[^a-z]+", " ", bare.lower()).strip()


def number(text: str) -> Number | None:
    r"""The number that a cleaned answer is, or None: 1,234.5, 17%, 3/4, \frac{3}{4}, 4.5e33."""
    text = text.strip()
    if len(text) > LONGEST_NUMBER:
        return None
    percent = text.endswith("%")
    text = text.removesuffix("%").strip()
    mixed = _FRACTION.fullmatch(text)
    if not mixed and text.count("/") != 1:
        decimal = _decimal(text)
        return decimal and decimal._replace(percent=percent)
    sign, whole, above, below = mixed.groups() if mixed else ("", "", *text.split("/"))
    top, bottom = _decimal(above), _decimal(below)
    if not top or not bottom or bottom.value == 0:
        return None
    value = int(whole or 0) + top.value / bottom.value
    return Number(-value if sign == "-" else value, percent)


def _decimal(text: str) -> Number | None:
    """A number without a fraction bar."""
    text = text.strip()
    ten = _TEN_TO.fullmatch(text)
    decimal = _DECIMAL.fullmatch(text)
    if not ten and not decimal:
        return None
    sign, digits, *powers = (ten[1], "1", ten[2]) if ten else decimal.groups(default="")  # type: ignore[union-attr]
    exponent = int(next((power for power in powers if power), 0))
    digits = re.sub(r"[,\s]", "", digits)
    if not digits.strip(".") or abs(exponent) > LARGEST_EXPONENT:
        return None
    value = Fraction(digits.rstrip(".")) * Fraction(10) ** exponent
    return Number(-value if sign == "-" else value, rounded="." in digits or exponent < 0)

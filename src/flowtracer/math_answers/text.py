"""Mathematical answers as text: one spelling for what is written in many ways, and plain numbers.

Nothing here parses or evaluates more than a written number, so every function takes time linear in
the text, whatever a model wrote.
"""

import re
from fractions import Fraction
from typing import NamedTuple

LONGEST_NUMBER = 120  # characters; our choice, far above every reference answer
LARGEST_EXPONENT = 400  # our choice: beyond the range of double precision

_SIGNS = {"−": "-", "–": "-", "×": "\\times ", "·": "\\cdot ", "÷": "/", "π": "\\pi ", "∞": "\\infty ",
          "°": "^\\circ ", "≤": "\\le ", "≥": "\\ge ", "∪": "\\cup ", "∈": "\\in ", "√": "\\sqrt ",
          "€": "", "£": "", "\u00a0": " "}  # fmt: skip
_SIGN = str.maketrans(_SIGNS)

# In this order. Repetitions are bounded, so that no text takes quadratic time.
_SPELLINGS = [
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])"), ""),
    (re.compile(r"\\(?:displaystyle|quad|qquad)(?![a-zA-Z])"), " "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<!\\)\\[!,;:> ]|~"), " "),
    (re.compile(r"\\?\$"), ""),
    (re.compile(r"\\(?:geqslant|geq)(?![a-zA-Z])"), r"\\ge"),
    (re.compile(r"\\(?:leqslant|leq)(?![a-zA-Z])"), r"\\le"),
    (re.compile(r"\\?%"), "%"),
    (re.compile(r"\\(?:text|mbox)\s{0,3}\{[\s,]{0,3}(?:and|or)\s{0,3}\}|\s(?:and|or)\s"), ","),
    (re.compile(r",\s{0,3},"), ","),
    (re.compile(r"\^\s{0,3}\{?\s{0,3}\\circ(?![a-zA-Z])\s{0,3}\}?|\\degree(?![a-zA-Z])"), ""),
    (re.compile(r"\^\s{0,3}\{\s{0,3}\\prime\s{0,3}\}"), "'"),
    (re.compile(r"\bnp\."), r"\\"),  # MinervaMath has np.arcsin
    (re.compile(r"\\frac\s{0,3}([0-9])\s{0,3}([0-9])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s{0,3}([0-9])\s{0,3}\{"), r"\\frac{\1}{"),
    (re.compile(r"(\\frac\s{0,3}\{[^{}]{1,60}\})\s{0,3}([0-9])"), r"\1{\2}"),
    (re.compile(r"\\sqrt\s{0,3}([0-9a-zA-Z])"), r"\\sqrt{\1}"),
    (re.compile(r"\\mid(?![a-zA-Z])"), "|"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"([\^_])\s{0,3}\{([0-9a-zA-Z])\}"), r"\1\2"),
]  # fmt: skip
_WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mbox|boldsymbol)\s{0,3}\{([^{}]*)\}"
)
_LEADING = re.compile(
    r"^(?:\\(?:approx|simeq|sim)(?![a-zA-Z])|[a-zA-Z]\s{0,3}\\in(?![a-zA-Z])|=)\s{0,3}"
)
# A unit ends the answer: \text{ cm}^2, \mathrm{~cm} or plain words. a.m. and p.m. are no units.
_UNIT = re.compile(
    r"(?:\\(?:text|textrm|textnormal|mathrm|mbox|operatorname)\s{0,3}\{(?!\s{0,3}[ap]\.?\s?m\b)[^{}]{1,40}\}"
    r"\s{0,3}(?:\^\s{0,3}\{?-?[0-9]\}?)?[\s/.]{0,3})+$"
)  # fmt: skip
# Plain words are a unit only if they cannot be a product of variables, as xy is.
_PLAIN_UNIT = re.compile(
    r"(?<=[0-9}])\s{0,3}(?:(?![ap]\.?m)(?:cm|mm|km|kg|ft|in|mi|yd|lbs?|oz|hrs?|min|secs?|ml|mph|Hz)(?![a-zA-Z])"
    r"|[a-zA-Z]{4,20}|(?<=\s)[msghLVWNJK](?![a-zA-Z]))"
    r"(?:\s{0,3}/?\s{0,3}[a-zA-Z]{1,20}){0,3}(?:\^[0-9])?$"
)
_WORDS = re.compile(r"[a-zA-Z][a-zA-Z .,'\-]{0,60}")

_DIGITS = r"(?:[0-9]{1,3}(?:,\s{0,3}[0-9]{3})+|[0-9]{1,3}(?:\s[0-9]{3})+|[0-9]+)?(?:\.[0-9]*)?"
_POWER = (
    r"(?:\s{0,3}(?:\\times|\\cdot|\*|x)\s{0,3}10\s{0,3}\^\s{0,3}\{?\s{0,3}([+-]?[0-9]{1,6})\s{0,3}\}?"
    r"|[eE]([+-]?[0-9]{1,6}))?"
)
_DECIMAL = re.compile(rf"([+-]?)\s{{0,3}}({_DIGITS}){_POWER}")
_TEN_TO = re.compile(r"([+-]?)\s{0,3}10\s{0,3}\^\s{0,3}\{?\s{0,3}([+-]?[0-9]{1,6})\s{0,3}\}?")
_FRACTION = re.compile(
    r"([+-]?)\s{0,3}([0-9]{0,9})\s{0,3}\\frac\s{0,3}\{([^{}]+)\}\s{0,3}\{([^{}]+)\}"
)


class Number(NamedTuple):
    """A written number: its value as it stands, before a percent sign is taken into account."""

    value: Fraction
    percent: bool = False
    rounded: bool = False  # written with a decimal point or a power of ten


def clean(text: str) -> str:
    """The answer in one spelling: LaTeX variants, signs, currency, degrees and spaces unified."""
    text = text.translate(_SIGN)
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    text = text.strip().rstrip(".").strip()
    whole = _WRAPPED.fullmatch(text)
    if whole:
        text = whole.group(1).strip()
    return _LEADING.sub("", text).strip()


def key(text: str) -> str:
    """What two cleaned answers are compared by: no blanks, no font commands, no outer braces."""
    text = _WRAPPED.sub(r"\1", text)
    return re.sub(r"\s+", "", text).replace("\\cdot", "*").replace("\\times", "*").rstrip(".")


def without_unit(text: str, unit: str = "", *, plain: bool = False) -> str:
    """A cleaned answer without the unit it ends with; an answer that is only a unit is kept.

    unit: one that the data names. plain: also without LaTeX, as in 20 miles.
    """
    shorter = _UNIT.sub("", text).strip()
    named = key(clean(unit))
    if named and key(shorter).endswith(named):
        for size in range(len(shorter)):  # the shortest beginning that leaves just the unit
            if key(shorter[size:]) == named:
                shorter = shorter[:size].strip()
                break
    return (_PLAIN_UNIT.sub("", shorter).strip() if plain else shorter) or text


def words(text: str) -> str | None:
    """The answer in lower case if it is words, such as east, or a letter such as (C).

    Three letters or more in a row are a word; fewer may be variables.
    """
    bare = _WRAPPED.sub(r"\1", text).strip()
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
    if percent:
        text = text[:-1].strip()
    mixed = _FRACTION.fullmatch(text)
    if mixed:
        sign, whole, above, below = mixed.groups()
        top, bottom = _decimal(above), _decimal(below)
        if not top or not bottom or bottom.value == 0:
            return None
        value = int(whole or 0) + top.value / bottom.value
        return Number(-value if sign == "-" else value, percent)
    if text.count("/") == 1:
        top, bottom = (_decimal(part) for part in text.split("/"))
        if not top or not bottom or bottom.value == 0:
            return None
        return Number(top.value / bottom.value, percent)
    found = _decimal(text)
    return found and found._replace(percent=percent)


def _decimal(text: str) -> Number | None:
    """A number without a fraction bar."""
    text = text.strip()
    ten = _TEN_TO.fullmatch(text)
    sign, digits, *powers = (ten.group(1), "1", ten.group(2)) if ten else _split(text)
    exponent = int(next((power for power in powers if power), 0))
    digits = re.sub(r"[,\s]", "", digits)
    if not digits.strip(".") or abs(exponent) > LARGEST_EXPONENT:
        return None
    value = Fraction(digits.rstrip(".")) * Fraction(10) ** exponent
    return Number(-value if sign == "-" else value, rounded="." in digits or exponent < 0)


def _split(text: str) -> tuple[str, ...]:
    """Sign, digits and powers of a decimal; no digits if it is none."""
    found = _DECIMAL.fullmatch(text)
    return found.groups(default="") if found else ("", "")

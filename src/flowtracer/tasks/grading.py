r"""Graders: from a response and an example to 1.0 or 0.0.

The answer is the content of the last `\boxed{...}` (`regions.answers`, method of the paper). A
grader never raises, hangs or runs anything because of what a model wrote; odd text is 0.0. Where
the comparison itself failed the grade is NaN: not graded, which is not wrong.
"""

import math
import re
from typing import TYPE_CHECKING

from flowtracer.math_answers.equality import decide, equal
from flowtracer.math_answers.symbolic import Ungraded
from flowtracer.math_answers.text import clean, key, number, without_unit
from flowtracer.regions.answers import find_answer
from flowtracer.tasks.countdown import LONGEST_EXPRESSION, Problem, is_solution

if TYPE_CHECKING:
    from flowtracer.tasks.task import Example

LONGEST_RESPONSE = 2_000_000  # characters; our choice, the end of a longer response is graded
MINERVA_TOLERANCE = 0.01  # relative; our choice: references have two or three digits

_ARITHMETIC = re.compile(r"[0-9+\-*/()\s]+")
_SIMPLE_FRACTION = re.compile(r"\\[dt]?frac\s{0,3}\{([^{}]+)\}\s{0,3}\{([^{}]+)\}")
_PUNCTUATION = re.compile(r"[\s().:*]")
_OPERATORS = {"\\times": "*", "\\cdot": "*", "\\div": "/", "×": "*", "·": "*", "÷": "/", "−": "-",
              "\\left": "", "\\right": "", "\\,": "", "\\;": "", "\\ ": " ", "[": "(", "]": ")",
              "$": ""}  # fmt: skip


def grade_math(response: str, example: "Example") -> float:
    """1.0 if the box holds the reference answer, compared by `equality.equal`.

    Of `example.extra` it reads OlympiadBench's fields: multiple (all values are required, in any
    order), unit, and tolerance (absolute).
    """
    return _graded_maths(response, example, relative=0.0)


def grade_minerva(response: str, example: "Example") -> float:
    """As `grade_math`, but numbers may be one per cent away from the reference."""
    return _graded_maths(response, example, relative=MINERVA_TOLERANCE)


def grade_number(response: str, example: "Example") -> float:
    """1.0 if the box, or the text behind the last `####`, is the number of the reference."""
    answer = _answer(response, "boxed") or _answer(response, "gsm8k")
    if len(answer) > 300:  # as long as the answers that `equality` reads
        return 0.0
    reference, amount = _amount(example.answer), _amount(answer)
    if not number(reference) or not number(amount):
        return 0.0
    return float(decide(reference, amount, lambda a, b: a == b) is True)


def grade_choice(response: str, example: "Example") -> float:
    """1.0 for the letter of the right option, or for its text in the box, with its letter or without.

    Without a box the letter is found as `regions.statements.choice_letter` does; several letters
    are no answer. The texts of the options are `example.extra["choices"]`, in order, where the data
    has them.
    """
    reference = example.answer.strip().strip("().").upper()
    boxed = _bare(_answer(response, "boxed")[:2000])
    for index, choice in enumerate(example.extra.get("choices") or ()):
        letter, text = chr(ord("a") + index), _bare(str(choice))
        if len(boxed) > 1 and boxed in (text, letter + text):
            return float(letter.upper() == reference)
    letter = _answer(response, "choice") or (boxed if len(boxed) == 1 else "")
    return float(bool(letter) and letter.upper() == reference)


def _bare(text: str) -> str:
    """An option without blanks, upper case and the punctuation that a letter has."""
    return _PUNCTUATION.sub("", key(clean(text)).casefold())


def grade_countdown(response: str, example: "Example") -> float:
    """1.0 if the box holds an expression that solves the problem in `example.extra`.

    LaTeX operators are read as plain ones, and a closing "= target" is allowed.
    """
    text = _answer(response, "boxed")
    if len(text) > 2 * LONGEST_EXPRESSION:
        return 0.0
    for written, plain in _OPERATORS.items():
        text = text.replace(written, plain)
    nested = text.count("frac")
    for _ in range(nested):  # from the inside out
        text = _SIMPLE_FRACTION.sub(r"((\1)/(\2))", text)
    target = int(example.extra["target"])
    expression, sign, result = text.partition("=")
    if (sign and result.strip() != str(target)) or not _ARITHMETIC.fullmatch(expression):
        return 0.0
    problem = Problem(tuple(int(number) for number in example.extra["numbers"]), target)
    return float(is_solution(" ".join(expression.split()), problem))


def _answer(response: str, rule: str) -> str:
    text = response[-LONGEST_RESPONSE:]
    for span in find_answer(text, rule):
        return text[span.start : span.stop]
    return ""


def _graded_maths(response: str, example: "Example", *, relative: float) -> float:
    answer = _answer(response, "boxed")
    if not answer:
        return 0.0
    extra = example.extra
    try:
        return float(
            equal(
                example.answer,
                answer,
                several=str(extra.get("multiple", "")).lower() == "true",
                unit=str(extra.get("unit") or ""),
                tolerance=_float(extra.get("tolerance")),
                relative=relative,
            )
        )
    except Ungraded:
        return math.nan


def _float(value: object) -> float:
    try:
        tolerance = float(str(value))
    except ValueError:
        return 0.0
    return tolerance if math.isfinite(tolerance) else 0.0


def _amount(text: str) -> str:
    """A number of money or things, freed from what it is set equal to and from its unit."""
    return without_unit(clean(text).rpartition("=")[2].strip())

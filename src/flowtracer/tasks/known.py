"""Whether one response is right, where its problem or a reference answer says so beyond doubt."""

import re

from flowtracer.math_answers.equality import equal, parts
from flowtracer.math_answers.symbolic import Ungraded
from flowtracer.math_answers.text import clean, key, number, without_unit
from flowtracer.tasks.grading import grade_countdown
from flowtracer.tasks.task import Example

LONGEST_VALUE = 100  # characters of what is compared as a value, our choice
MOST_WORDS = 2  # of a value, our choice: "New York" is one, "the city of Paris" may be the same
ROUNDED = 1e-3  # relative, our choice: numbers this close may be roundings of each other

COUNTDOWN_PROBLEM = re.compile(r"Make (\d{1,9}) from (\d{1,9}(?:, ?\d{1,9}){1,9})\s?\.", re.ASCII)
_WORD = re.compile(r"\\[A-Za-z]+|([A-Za-z]+|[$€£¥%])")  # LaTeX commands are none
_NAMED = re.compile(r"^\s*[A-Za-z]\s*=")  # x = 4
_APART = re.compile(r"\d\s+\d")


def grade_known(
    question: str, response: str, answer: str, reference: str | None = None
) -> bool | None:
    """Whether the response is right; None where that is not known beyond doubt.

    A Countdown problem ("Make 4 from 16, 20, 24.") says it by itself, whatever the reference. Else
    `answer`, what a rule found in the response, is compared with the reference; of one that ends in
    "#### 42" (GSM8K) with what follows. A text that is no plain value, such as a sentence or a worked
    solution, never makes an answer wrong; and an answer in another unit or order is not right.
    """
    problem = COUNTDOWN_PROBLEM.fullmatch(question.strip())
    if problem is not None:
        return solves(problem, response)
    reference = (reference or "").rpartition("####")[2].strip()
    if not reference:
        return None
    try:
        same = equal(reference, answer)
    except Ungraded:
        return None
    if same:
        return True if reference == answer.strip() or _surely_equal(reference, answer) else None
    return False if _surely_different(reference, answer) else None


def solves(problem: "re.Match[str]", response: str) -> bool:
    """Whether a response solves a problem that `COUNTDOWN_PROBLEM` matched."""
    numbers = [int(number) for number in problem[2].split(",")]
    example = Example("", problem[0], "", {"numbers": numbers, "target": int(problem[1])})
    return grade_countdown(response, example) > 0


def _surely_equal(reference: str, answer: str) -> bool:
    """Of answers that the graders take for equal: also without what they do not compare."""
    both = (reference, answer)
    listed = [[key(part) for part in parts(clean(text))] for text in both]
    if len(listed[0]) > 1 and listed[0] != listed[1] and sorted(listed[0]) == sorted(listed[1]):
        return False  # in another order
    if any(_APART.search(text) for text in both) and " ".join(reference.split()) != " ".join(
        answer.split()
    ):
        return False  # "4 5" is not 45
    units = [{word.rstrip("s") for word in _words(text)} for text in both]
    numbers = [bool(number(without_unit(clean(_NAMED.sub("", text))))) for text in both]
    if numbers == [True, False]:
        return False  # "2 + 2" for 4 may repeat the question
    return not (all(numbers) and all(units) and units[0] != units[1])


def _surely_different(reference: str, answer: str) -> bool:
    """Of answers that are not equal: whether both are plain values of one kind."""
    both = (reference, answer.strip())
    for text in both:
        words = [word for word in _words(text) if len(word) > 1]
        if len(text) > LONGEST_VALUE or len(words) > MOST_WORDS or not text.isascii():
            return False
        if "\n" in text or '"' in text or "\\boxed" in text:
            return False
    letters = [len(text.strip("(). ")) == 1 and text.strip("(). ").isalpha() for text in both]
    if letters[0] != letters[1]:
        return False  # an option by its letter on one side, by its number or text on the other
    a, b = (number(without_unit(clean(text))) for text in both)
    return not (a and b and abs(a.value - b.value) <= ROUNDED * abs(a.value))


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text) if word]

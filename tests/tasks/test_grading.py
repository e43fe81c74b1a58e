"""Graders: what each task takes for right."""

import json
import random
import time

import pytest
from helpers.grading import DATA, box, example

from flowtracer.math_answers import symbolic
from flowtracer.tasks import (
    TASKS,
    Task,
    grade_choice,
    grade_countdown,
    grade_math,
    grade_minerva,
    grade_number,
)
from flowtracer.tasks.sources import Hub

pytest.importorskip("math_verify", reason="math-verify (flowtracer[train]) is not installed")

SAME_NUMBER = ["18", "18.0", "$18", r"\$18.00", "18 dollars", r"18\text{ eggs}", "x = 18", "2 * 9 = 18",
               "36/2", r"\frac{36}{2}", "+18", "018", "1.8e1", " 18. ", "18%", "18°",
               r"18^\circ"]  # fmt: skip
DIFFERENT_NUMBER = ["", "81", "-18", "18, 19", "eighteen", "18x", "1 8", "18e400", "18/0", "--18", "１８",
                    "9" * 5000, "18e99999999999", "1e-9999"]  # fmt: skip


def test_a_batch_of_hostile_answers_ends_and_the_others_are_graded():
    """512 answers of which 480 take sympy long; the text decides 16, sympy another 16."""
    hostile = [f"(a+b+c+d+e+f)^{{{60 + k % 39}}} + {k}" for k in range(480)]
    answers = [*hostile, *["x+1"] * 16, *["1+x"] * 16]
    task = Task("mine", (), "", grade_math)
    symbolic.symbolically_equal(["x"], ["x+0"])  # starting is not what is timed
    started = time.monotonic()
    with pytest.warns(UserWarning, match="could not be graded in time"):
        rewards = task.reward([box(answer) for answer in answers], answer=["x+1"] * 512)
    assert time.monotonic() - started < 12
    assert rewards[-32:] == [1.0] * 32
    assert not any(rewards[:480])


def test_the_fields_of_olympiadbench_are_read():
    several = {"multiple": "True"}
    assert grade_math(box("84 and 69"), example("69,84", several)) == 1.0
    assert grade_math(box("69,84,99"), example("69,84", several)) == 0.0
    assert grade_math(box(r"166 \text{ cm}^2"), example("166", {"unit": "$cm^2$"})) == 1.0
    percent = {"tolerance": "1e-1", "unit": "%"}
    assert grade_math(box("4.25"), example("4.2", percent)) == 1.0
    assert grade_math(box("4.4"), example("4.2", percent)) == 0.0
    assert grade_math(box("4.4"), example("4.2", {"tolerance": "nan"})) == 0.0


def test_minerva_allows_one_per_cent():
    assert grade_minerva(box(r"4.48 \times 10^{33}"), example("4.5e33")) == 1.0
    assert grade_math(box(r"4.48 \times 10^{33}"), example("4.5e33")) == 0.0
    assert grade_minerva(box("4.7e33"), example("4.5e33")) == 0.0


def test_numbers_are_compared_exactly_and_without_the_worker(monkeypatch):
    monkeypatch.setattr(symbolic, "_Worker", None)
    assert [answer for answer in SAME_NUMBER if not grade_number(box(answer), example("18"))] == []
    assert [answer for answer in DIFFERENT_NUMBER if grade_number(box(answer), example("18"))] == []
    assert grade_number(box("1,234,567"), example("1234567")) == 1.0
    assert grade_number(box("1234568"), example("1234567")) == 0.0
    assert grade_number(box("073"), example("73")) == 1.0


def test_a_number_is_read_behind_hashes_only_where_there_is_no_box():
    assert grade_number("9 * 2 = 18\n#### 18", example("18")) == 1.0
    assert grade_number("#### 18\nNo: \\boxed{19}", example("18")) == 0.0
    assert grade_number("The answer is 18", example("18")) == 0.0
    for bold in ("#### **72**", "#### **72.**", "**#### 72**"):
        assert grade_number(bold, example("72")) == 1.0


def test_choices_are_letters_or_the_text_of_the_option():
    right = example("B", {"choices": ["15 kJ/g", "25 kJ/g", "Vitamin A", "A"]})
    for text in (box("B"), box(r"\text{B}"), box("(B)"), box("B. 25 kJ/g"), box("25 kJ/g"), box("b"),
                 "The answer is B.", "**Answer: (B)**", "So:\nB"):  # fmt: skip
        assert grade_choice(text, right) == 1.0, text
    for text in (box("A"), box("15 kJ/g"), box("Between"), box("A") + " or B", "", box("AB"), "Bread.",
                 box("C") + " not B"):  # fmt: skip
        assert grade_choice(text, right) == 0.0, text


@pytest.mark.parametrize(
    "several",
    ["A or B", "A, B, C, D", "A, B", "AB", "A and B", "A/B", "(A) (B)", "A. B. C.", "A) B)", "A.B", "A. or B",
     r"\text{A or B}", "A B", r"A \text{ or } B"],
)  # fmt: skip
def test_several_options_are_no_answer(several):
    for right in "AB":
        for options in ({}, {"choices": ["x", "y", "z", "u"]}):
            assert grade_choice(box(several), example(right, options)) == 0.0
            assert grade_choice(f"The answer is {several}.", example(right, options)) == 0.0


def test_a_word_is_no_option():
    options = example("B", {"choices": [str(number) for number in range(10)]})
    assert grade_choice("The answer is I think B", options) == 1.0
    assert grade_choice("The answer is I think B", example("I", options.extra)) == 0.0
    assert grade_choice("My answer: A bird. The answer is B because A is wrong.", options) == 1.0
    assert grade_choice("The answer is B. Option A is wrong.", options) == 1.0


def test_an_option_that_names_another_letter_is_one_option():
    options = {"choices": ["Vitamin C.", "A or B", "Vitamin A."]}
    assert grade_choice(box("C. Vitamin A."), example("C", options)) == 1.0
    assert grade_choice(box("A or B"), example("B", options)) == 1.0


@pytest.mark.parametrize(
    ("grade", "reference", "right", "wrong"),
    [
        (grade_math, "x+1", box("1+x"), box("x")),
        (grade_number, "72", "#### 72", "#### 7"),
        (grade_choice, "B", "The answer is B.", "The answer is A."),
        (grade_minerva, "2e3", box("2000"), box("3000")),
    ],
)
def test_the_answer_of_a_thinking_model_stands_behind_its_thought(grade, reference, right, wrong):
    asked = example(reference)
    assert grade(f"<think>{wrong}</think>\n{right}", asked) == 1.0
    assert grade(f"{wrong}</think>\n{right}", asked) == 1.0  # opened in the prompt
    assert grade(f"<think>{right}</think>\nDone.", asked) == 0.0
    assert grade(f"<think>Let me see. {right}", asked) == 0.0  # cut off
    assert grade(f"{right}<think>Or not", asked) == 0.0


def test_a_thought_that_the_prompt_opened_has_to_be_closed():
    """Also in training, and for graders of the user's own."""
    seen = []
    for grade in (grade_math, lambda text, example: seen.append(text) or grade_math(text, example)):
        task = Task("maths", (example("7"),), "", grade).behind("<|assistant|><think>\n")
        closed, cut_off = f"{box('1')}</think>{box('7')}", f"Let me see. {box('7')}"
        assert task.reward([closed, cut_off], answer=["7", "7"]) == [1.0, 0.0]
        assert task.behind("<|assistant|>").reward([cut_off], answer=["7"]) == [1.0]
    assert seen == [f"<think>{closed}", f"<think>{cut_off}", cut_off]


def test_countdown_is_graded_exactly_and_may_be_written_in_latex():
    problem = example("(18 - 7) * 3", {"numbers": [3, 7, 18], "target": 33})
    for text in (
        "(18 - 7) * 3",
        r"(18-7)\times 3",
        r"3 \cdot \left(18 - 7\right)",
        "(18 − 7) × 3 = 33",
    ):
        assert grade_countdown(box(text), problem) == 1.0, text
    assert (
        grade_countdown(box(r"\frac{12}{4} + 1"), example("", {"numbers": [12, 4, 1], "target": 4}))
        == 1.0
    )
    nested = example("", {"numbers": [8, 2, 1, 4], "target": 16})
    assert grade_countdown(box(r"\frac{\dfrac{8}{2}}{1} \cdot 4"), nested) == 1.0
    assert grade_countdown(box(r"\frac{8}{\frac{1}{2}} \cdot 4"), nested) == 0.0
    for text in ("33", "18 - 7 * 3", "(18 - 7) * 3 = 34", "11 * 3", "(18-7)*3 = 33 = 33", "3" * 9000,
                 "(" * 300, "__import__('os')", "(18 - 7) ** 3", "\x00", "18_7"):  # fmt: skip
        assert grade_countdown(box(text), problem) == 0.0, text
    assert grade_countdown("(18 - 7) * 3", problem) == 0.0


def test_the_inner_box_counts_where_boxes_are_nested():
    assert grade_math(r"\boxed{\boxed{7}}", example("7")) == 1.0


@pytest.mark.parametrize(
    "name", sorted(name for name in TASKS if isinstance(TASKS[name].rows, Hub))
)
def test_every_reference_answer_is_right_in_a_box(name):
    files = sorted((DATA / name).glob("*.jsonl"))
    if not files:
        pytest.skip(f"no data in {DATA / name}; name a folder in FLOWTRACER_DATA")
    rows = [json.loads(line) for path in files for line in path.open(encoding="utf-8")]
    others = [row["answer"] for row in rows]
    generator = random.Random(0)
    for row in generator.sample(rows, min(100, len(rows))):
        grade, asked = TASKS[name].grade, example(row["answer"], row)
        assert grade(f"So \\boxed{{{row['answer']}}}.", asked) == 1.0, row["answer"]
        other = generator.choice(others)
        numbers = row["answer"].isdigit() and other.isdigit()
        if numbers and name != "minerva_math":
            assert grade(box(other), asked) == float(int(other) == int(row["answer"]))
        assert grade(f"So {row['answer']}", asked) == 0.0 or name == "crossthink_qa"

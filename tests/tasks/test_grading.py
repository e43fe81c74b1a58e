"""Graders: what each task takes for right."""

import json
import random

import pytest
from helpers.grading import DATA, box, example

from flowtracer.math_answers import symbolic
from flowtracer.tasks import (
    TASKS,
    grade_choice,
    grade_countdown,
    grade_math,
    grade_minerva,
    grade_number,
)
from flowtracer.tasks.sources import Hub

pytest.importorskip("math_verify", reason="math-verify (flowtracer[train]) is not installed")

SAME_NUMBER = ["18", "18.0", "$18", r"\$18.00", "18 dollars", r"18\text{ eggs}", "x = 18", "2 * 9 = 18",
               "36/2", r"\frac{36}{2}", "+18", "018", "1.8e1", " 18. ", "18%"]  # fmt: skip
DIFFERENT_NUMBER = ["", "81", "-18", "18, 19", "eighteen", "18x", "1 8", "18e400", "18/0", "--18", "１８",
                    "9" * 5000, "18e99999999999", "1e-9999"]  # fmt: skip


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
    monkeypatch.setattr(symbolic, "_started", None)
    assert [given for given in SAME_NUMBER if not grade_number(box(given), example("18"))] == []
    assert [given for given in DIFFERENT_NUMBER if grade_number(box(given), example("18"))] == []
    assert grade_number(box("1,234,567"), example("1234567")) == 1.0
    assert grade_number(box("1234568"), example("1234567")) == 0.0
    assert grade_number(box("073"), example("73")) == 1.0


def test_a_number_is_read_behind_hashes_only_where_there_is_no_box():
    assert grade_number("9 * 2 = 18\n#### 18", example("18")) == 1.0
    assert grade_number("#### 18\nNo: \\boxed{19}", example("18")) == 0.0
    assert grade_number("The answer is 18", example("18")) == 0.0


def test_choices_are_letters_or_the_text_of_the_option():
    right = example("B", {"choices": ["15 kJ/g", "25 kJ/g", "Vitamin A", "A"]})
    for text in (box("B"), box(r"\text{B}"), box("(B)"), box("B. 25 kJ/g"), box("25 kJ/g"), box("b"),
                 "The answer is B.", "**Answer: (B)**", "So:\nB"):  # fmt: skip
        assert grade_choice(text, right) == 1.0, text
    for text in (box("A"), box("15 kJ/g"), box("Between"), box("A") + " or B", "", box("AB"), "Bread.",
                 box("C") + " not B"):  # fmt: skip
        assert grade_choice(text, right) == 0.0, text


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

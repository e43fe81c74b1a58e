"""Whether a single response is right, where that can be known."""

import pytest

from flowtracer.tasks.known import grade_known

PROBLEM = "Make 4 from 16, 20, 24."


@pytest.mark.parametrize(
    ("question", "response", "answer", "reference", "expected"),
    [
        (PROBLEM, "\\boxed{16 / (24 - 20)}", "16 / (24 - 20)", None, True),
        (PROBLEM, "\\boxed{24 - 20}", "24 - 20", None, False),
        (PROBLEM, "no box", "no box", None, False),
        ("What is 2 + 2?", "\\boxed{4}", "4", None, None),
        ("What is 2 + 2?", "\\boxed{4}", "4", "4", True),
        ("What is 2 + 2?", "The answer is 5.", "5", "2 + 2 = 4\n#### 4", False),
        ("What is half?", "It is 0.5", "0.5", "\\frac{1}{2}", True),
        (PROBLEM, "\\boxed{16 / (24 - 20)}", "16 / (24 - 20)", "4", True),
    ],
)
def test_a_response_is_right_wrong_or_not_graded(question, response, answer, reference, expected):
    assert grade_known(question, response, answer, reference) is expected


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("4 \n5", "45"), ("5, 4", "4, 5"), ("3 hours", "3 minutes"), ("$5", "5 euros"), ("2 + 2", "4"),
        ("$4", "4%"),
    ],
)  # fmt: skip
def test_what_graders_do_not_compare_makes_no_answer_right(answer, reference):
    assert grade_known("What?", "", answer, reference) is None


def test_a_countdown_problem_is_solved_by_all_its_numbers_whatever_the_reference():
    assert grade_known(PROBLEM, "\\boxed{24 - 20}", "24 - 20", "4") is False


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("4", ""), ("4", "  "), ("4", "worked out ####"), ("4", "Hence \\boxed{4}."),
        ("4", "#### Solution\nIt is 4"), ("So the answer is 4.", "4"), ("the city of Paris", "Paris"),
        ("Paris", "The capital of France is Paris."), ("D", "3"), ("B) 7", "B"),
        ("0.3", "0.30000000000000004"), ("x", "(" * 100_000), ('{"a": 2}', '{"a": 1}'),
    ],
)  # fmt: skip
def test_what_is_no_plain_value_makes_no_answer_wrong(answer, reference):
    assert grade_known("What?", "", answer, reference) is None


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("x = 4", "4", True), ("\\$4", "4", True), ("4 cm", "4", True), ("2 hours", "2 hour", True),
        ("72", "48/2 = 24 clips.\n#### 72", True), ("London", "Paris", False), ("-1", "1", False),
        ("B", "(B)", True), ("A", "B", False), ("", "4", False),
    ],
)  # fmt: skip
def test_plain_values_are_right_or_wrong(answer, reference, expected):
    assert grade_known("What?", "", answer, reference) is expected

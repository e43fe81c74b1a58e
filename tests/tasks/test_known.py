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

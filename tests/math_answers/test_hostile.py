"""Nothing that a model writes can stop a trainer."""

import time

import pytest
from helpers.grading import box, example

from flowtracer.tasks import grade_choice, grade_math, grade_minerva, grade_number

pytest.importorskip("math_verify", reason="math-verify (flowtracer[train]) is not installed")

HOSTILE = [
    "9^{9^{9^9}}", "10**10**10", "1000000!", "((9!)!)!", "9" * 250, r"\binom{10000000}{5000000}",
    "{" * 140 + "x" + "}" * 140, "(" * 140 + "x" + ")" * 140, r"\frac{" * 40 + "1" + "}{2}" * 40,
    r"\sum_{k=1}^{999999999} \frac{1}{k^k}", r"\int_0^1 \sin(x^{x^x}) dx", "2^{99999999}", "x^{99999999}",
    "(x+1)^{999}(x+2)^{999}", r"\sqrt{" * 30 + "2" + "}" * 30, "__import__('os').system('touch hacked')",
    "exec(open('/etc/passwd').read())", "\x00", "5\x007", "\u202e5\u202c", "\ud800", r"\input{/etc/passwd}",
    "5" + r"\text{" * 30, ",".join(["x^2+1"] * 40), "+".join(["\\sin(x^{7})^{9}"] * 17), "-" * 290,
    r"\left" * 50, "1/0", r"\frac{0}{0}", r"\tan(\tan(\tan(10^{99})))", "$" * 250, "%" * 250, "1e999999999",
    "factorial(10**9)", r"\gcd(10^{500},7^{900})", "7^{7^{7}}", "[" * 250, "1," * 149, "~" * 299,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_are_wrong_in_bounded_time(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for reference in ("7", "x^2+1", r"\frac{1}{2 n+2}"):
        for grade in (grade_math, grade_minerva, grade_number, grade_choice):
            started = time.monotonic()
            assert grade(box(text), example(reference)) == 0.0
            assert time.monotonic() - started < 10
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "response",
    [
        "x" * 1_000_000, "\\boxed{" * 5000, "\\boxed{" * 5000 + "7" + "}" * 5000 + "8", "{" * 5000,
        box("{" * 5000 + "}" * 5000), "}" * 1_000_000, box("7" * 1_000_000), box(" " * 500_000 + "8"),
        "#### " * 200_000, "answer is " * 100_000, "\\" * 1_000_000, box("$" * 1_000_000), "\x00" * 1_000_000,
        box("," * 500_000), box("x and " * 100_000), box("\\text{" * 100_000 + "}" * 100_000),
    ],
    ids=range(16),
)  # fmt: skip
def test_long_output_is_graded_in_bounded_time(response):
    for grade in (grade_math, grade_number, grade_choice):
        started = time.monotonic()
        grade(response, example("7777"))
        assert time.monotonic() - started < 10

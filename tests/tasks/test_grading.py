"""Grading: what counts as the same answer, and that nothing a model writes can stop a trainer."""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flowtracer.math_answers import symbolic as process
from flowtracer.tasks import (
    TASKS,
    Example,
    grade_choice,
    grade_countdown,
    grade_math,
    grade_minerva,
    grade_number,
)

pytest.importorskip("math_verify", reason="math-verify (flowtracer[train]) is not installed")

DATA = Path(os.environ.get("FLOWTRACER_DATA") or Path(__file__).parents[3] / "shared" / "data")

# References as they stand in the data sets, and how a model may write them.
SAME_IN_MATH = [
    (r"90^\circ", "90"), (r"90^\circ", r"90\text{ degrees}"), (r"90^\circ", "90°"),
    (r"\frac{270}7\text{ degrees}", r"\frac{270}{7}^\circ"), (r"\$32,\!348", "32348"),
    (r"\$32,\!348", r"\$32{,}348"), (r"\$32,\!348", "$32,348.00"), (r"1\frac{4}{5}", "1.8"),
    (r"1\frac{4}{5}", "9/5"), (r"5.4 \text{ cents}", "5.4"), (".0000672", r"6.72 \times 10^{-5}"),
    ("2516_8", "2516_{8}"), ("52_8", "52"), (r"\text{(C)}", "C"), (r"\text{(C)}", r"\textbf{(C)}"),
    (r"\text{east}", "east"), (r"\text{even}", r"\mathrm{even}"), (r"\text{Friday}", "Friday."),
    ("p - q", "-q+p"), ("6 - 5i", "-5i+6"), ("(a+5)(b+2)", "ab+2a+5b+10"), (r"70 \sqrt{2}", r"70\sqrt2"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\pi/2)"), ("1,-2", "-2, 1"), ("1,-2", "-2 and 1"),
    ("1,-2", "x=1, x=-2"), ("1,-2", r"\{1,-2\}"), (r"\pm 2", "2,-2"), ("2,-2", r"\pm 2"),
    (r"-2 \text{ or } -12", "-12,-2"), (r"2, 3, \text{ and } 4", "2,3,4"), (r"17\%", "17"),
    (r"17\%", "0.17"), (r"17\%", "17%"), ("x = 2", "2"), ("2", "x=2"), (r"\frac43", r"\dfrac{4}{3}"),
    ("5x - 7y + 11z + 4 = 0", "5x-7y+11z=-4"), ("y=10x-4", "y = -4 + 10x"),
    (r"\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}",
     r"\begin{pmatrix} -\frac{1}{3} \\ \frac23 \\ \frac53 \end{pmatrix}"),
    (r"(2,\infty)", "x>2"), ("[-2,4]", r"-2 \le x \le 4"), ("[-2,4]", r"x \in [-2, 4]"),
    (r"(-\infty,-2)\cup (-2,3)", r"(-2,3) \cup (-\infty,-2)"), (r"10\;\text{edges}", "10"),
    ("05\\!:\\!00", "5:00"), (r"1,\!000,\!000", "10^6"),
    (r"8\!:\!34 \text{ p.m.}", r"8:34 \text{ p.m.}"), ("20", "20 miles"),
    ("20", r"20\text{ cm}^2"), ("20", "20 cm^2"), (r"\frac{1}{3}", "0.333333"), (r"\text{B,C}", "C, B"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"), ("1024", "2^{10}"), (r"\text{odd}", "Odd"),
]  # fmt: skip
DIFFERENT_IN_MATH = [
    ("5", "6"), ("5", ""), ("-5", "5"), ("5", "5 or 6"), ("5", "5, 5"), ("1,-2", "1,2"), ("1,-2", "1"),
    ("1,-2", "1,1"), ("3", "3xy"), ("2xy", "2"), (r"\text{east}", "seat"), (r"\text{east}", "west"),
    ("(-1,6)", "(6,-1)"), ("[0,3)", "(0,3)"), ("[0,3)", "[0,3]"), ("2516_8", "2516_9"), ("x=1", "y=1"),
    (r"\frac{1}{3}", "0.33"), ("0.001", "0.0011"), ("1000001", "1000000"), ("12", "1,2"), ("10", "10!"),
    (r"17\%", "1.7"), (r"\text{(C)}", "D"), (r"8\!:\!34 \text{ p.m.}", r"8:34 \text{ a.m.}"),
    (r"\pi", "3.14"), ("p - q", "q - p"), (r"\$5", r"\$50"), (r"\sqrt{53}", "53"), ("7", "x"), ("7", "{"),
]  # fmt: skip
SAME_IN_OLYMPIAD = [
    ("69,84", "84 and 69", {"multiple": True}), ("2500,7500", "7500, 2500", {"multiple": True}),
    ("(1,8,19), (2,7,13), (4,5,7)", "(2,7,13),(4,5,7),(1,8,19)", {"multiple": True}),
    (r"90^{\circ},60^{\circ}", "60,90", {"multiple": True}),
    (r"\angle B E A_{1}=90,\angle A E B_{1}=90", "90^\\circ, 90^\\circ",
     {"multiple": True, "unit": r"^{\circ}"}),
    ("f(x)=-1,f(x)=x+1", "x+1, -1", {"multiple": True}), ("f(x)=2 x", "2x", {}), ("k=1", "1", {}),
    (r"2^{-2 / 3}, 8", r"8, \frac{1}{\sqrt[3]{4}}", {"multiple": True}), ("M=2^{N-2}+1", "1+2^{N-2}", {}),
    (r"1,\frac{3 + \sqrt{21}}{2},\frac{3 - \sqrt{21}}{2}", r"\frac{3 \pm \sqrt{21}}{2}, 1",
     {"multiple": True}),
    (r"\frac{1}{2 n+2}", r"\frac{1}{2(n+1)}", {}), (r"\binom{2n}{n}", r"\frac{(2n)!}{(n!)^2}", {}),
    (r"\frac{100!}{2^{50}}", "100!/2^{50}", {}), (r"k \geqslant 2", r"k \ge 2", {}),
    ("45", "45 minutes", {"unit": "minute"}), ("166", r"166 \text{ cm}^2", {"unit": "$cm^2$"}),
    (r"\frac{600}{7}", r"\frac{600}{7} km/h", {"unit": "km/h"}), ("4.2", r"4.2\%", {"unit": "%"}),
    ("4.2", "4.25", {"tolerance": "1e-1", "unit": "%"}), ("50", "50 m", {}),
]  # fmt: skip
DIFFERENT_IN_OLYMPIAD = [
    ("69,84", "69", {"multiple": True}), ("69,84", "69,84,99", {"multiple": "True"}),
    ("(2,2,2),(3,4,3)", "(2,2,3),(3,4,3)", {"multiple": True}), ("4.2", "4.4", {"tolerance": "1e-1"}),
    ("4.2", "4.25", {}), ("1,3,5", "1,3,3", {"multiple": True}), ("f(x)=2 x", "2y+1", {}),
    ("4.2", "4.4", {"tolerance": "nan"}),
]  # fmt: skip
SAME_IN_MINERVA = [
    ("4.5e33", r"4.5 \times 10^{33}"), ("4.5e33", r"4.48 \times 10^{33} \text{ erg/s}"),
    ("3e8", r"3 \cdot 10^8"),
    ("np.arcsin(10/13)", "0.8776"), ("np.arcsin(10/13)", r"\arcsin(10/13)"), ("-1./3", r"-\frac13"),
    ("1.6", r"1.6 \mathrm{~cm}"), (r"\frac{\pi}{2}", "1.571"), ("7.6 Z", "7.6Z"), ("+2", "2"),
    ("1e-8", "10^{-8}"), ("15000", "15,000"), ("1e11", "100000000000"), ("0.5", r"\frac{1}{2}"),
    ("E_{1},E_{2}", "E_2, E_1"), ("X_{d}=125-1.25 P", "125-1.25P"), ("2.19e6", "2.2e6"),
    (r"\ln 2 + i\pi / 3", r"\ln(2)+\frac{i\pi}{3}"), (r"2 \pi / \omega", r"\frac{2\pi}{\omega}"),
    (r"\frac{e^{t}} {3}+c e^{-2 t}", "c e^{-2t}+e^t/3"), ("1+\\sqrt{3} i", "1+i\\sqrt{3}"),
    (r"y^{\prime}+r y-r x(t)=0", "y' + ry - rx(t) = 0"), (r"\frac{37}{4} m", r"\frac{37}{4}"),
]  # fmt: skip
DIFFERENT_IN_MINERVA = [
    ("4.5e33", "4.7e33"), ("4.5e33", "4.5"), ("4.5e33", "4.5e32"), ("0", "0.001"), ("-7", "7"),
    ("100", "102"), ("1e-8", "0"), ("7.6 Z", "7.6"), (r"\alpha", r"\beta"),
    ("0.8", r"8 \times 10^{99999999}"),
]  # fmt: skip
SAME_NUMBER = ["18", "18.0", "$18", r"\$18.00", "18 dollars", r"18\text{ eggs}", "x = 18", "2 * 9 = 18",
               "36/2", r"\frac{36}{2}", "+18", "018", "1.8e1", " 18. ", "18%"]  # fmt: skip
DIFFERENT_NUMBER = ["", "81", "-18", "18, 19", "eighteen", "18x", "1 8", "18e400", "18/0", "--18", "１８",
                    "9" * 5000, "18e99999999999", "1e-9999"]  # fmt: skip

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


def example(answer, extra=None):
    return Example("1", "?", answer, extra or {})


def box(text):
    return f"The answer is \\boxed{{{text}}}."


@pytest.mark.parametrize(("reference", "given"), SAME_IN_MATH)
def test_the_same_answer_in_math_is_right(reference, given):
    assert grade_math(box(given), example(reference)) == 1.0


@pytest.mark.parametrize(("reference", "given"), DIFFERENT_IN_MATH)
def test_another_answer_in_math_is_wrong(reference, given):
    assert grade_math(box(given), example(reference)) == 0.0


@pytest.mark.parametrize(("reference", "given", "extra"), SAME_IN_OLYMPIAD)
def test_the_same_answer_in_olympiadbench_is_right(reference, given, extra):
    assert grade_math(box(given), example(reference, extra)) == 1.0


@pytest.mark.parametrize(("reference", "given", "extra"), DIFFERENT_IN_OLYMPIAD)
def test_another_answer_in_olympiadbench_is_wrong(reference, given, extra):
    assert grade_math(box(given), example(reference, extra)) == 0.0


@pytest.mark.parametrize(("reference", "given"), SAME_IN_MINERVA)
def test_the_same_answer_in_minerva_is_right(reference, given):
    assert grade_minerva(box(given), example(reference)) == 1.0


@pytest.mark.parametrize(("reference", "given"), DIFFERENT_IN_MINERVA)
def test_another_answer_in_minerva_is_wrong(reference, given):
    assert grade_minerva(box(given), example(reference)) == 0.0


def test_numbers_are_compared_exactly_and_without_the_worker(monkeypatch):
    monkeypatch.setattr(process, "_started", None)
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


def test_the_inner_box_counts_where_boxes_are_nested():
    assert grade_math(r"\boxed{\boxed{7}}", example("7")) == 1.0


def test_a_comparison_that_takes_too_long_is_stopped_and_the_next_one_works():
    started = time.monotonic()
    slow = r"\binom{30000000}{15000000}"
    assert not process.symbolically_equal([slow], ["x"], seconds=0.5)
    assert time.monotonic() - started < 10
    assert process.symbolically_equal(["x+1"], ["1+x"])


def test_a_worker_that_died_is_replaced():
    assert process.symbolically_equal(["x+1"], ["1+x"])
    process._worker.process.kill()
    process._worker.process.wait()
    assert process.symbolically_equal(["x+1"], ["1+x"])


def test_grading_works_from_threads():
    results = {}

    def grade(number):
        results[number] = grade_math(box(f"{number}+x"), example(f"x+{number}"))

    threads = [threading.Thread(target=grade, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert results == dict.fromkeys(range(8), 1.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_trainer_has_its_own_worker():
    assert grade_math(box("1+x"), example("x+1")) == 1.0
    mine = process._worker.process.pid
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def child():
        grade = grade_math(box("2+x"), example("x+2"))
        results.put((grade, process._worker.process.pid))

    forked = context.Process(target=child)
    forked.start()
    forked.join(timeout=60)
    grade, pid = results.get()
    assert grade == 1.0 and pid != mine
    assert grade_math(box("3+x"), example("x+3")) == 1.0
    assert process._worker.process.pid == mine
    assert gone(pid)


def test_no_process_is_left_when_the_program_ends():
    program = (
        "from flowtracer.math_answers import symbolic\n"
        "from flowtracer.tasks import Example, grade_math\n"
        "assert grade_math(r'\\boxed{1+x}', Example('1', '', 'x+1', {})) == 1.0\n"
        "print(symbolic._worker.process.pid)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert gone(int(result.stdout))


def gone(pid):
    """Whether the process ended, waiting a little for one that reads the end of its input."""
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and ") Z " in state.read_text():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("name", sorted(name for name in TASKS if TASKS[name].hub))
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

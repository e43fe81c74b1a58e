"""The process that runs math-verify: stopped when it takes too long, started anew, never left over."""

import math
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.grading import box, example

from flowtracer.math_answers import symbolic
from flowtracer.tasks import grade_math

pytest.importorskip("math_verify", reason="math-verify (flowtracer[train]) is not installed")


def test_a_comparison_that_takes_too_long_is_stopped_and_the_next_one_works():
    started = time.monotonic()
    slow = r"\binom{30000000}{15000000}"
    assert not symbolic.symbolically_equal([slow], ["x"], seconds=0.5)
    assert time.monotonic() - started < 10
    assert symbolic.symbolically_equal(["x+1"], ["1+x"])


def test_a_comparison_stops_itself_and_leaves_the_process_running():
    assert symbolic.symbolically_equal(["x+1"], ["1+x"])
    process = symbolic._worker.process.pid
    started = time.monotonic()
    assert not symbolic.symbolically_equal(["x"], ["(a+b+c+d+e+f)^{99}"])
    assert time.monotonic() - started < 3
    assert symbolic._worker.process.pid == process


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_comparison_during_which_the_process_died_is_made_again(deaths, monkeypatch):
    """Killed while it compares: once is made good, twice is not graded and not wrong."""
    ask, asked = symbolic._Worker.ask, []

    def kill_first(worker, request, seconds):
        if request:
            asked.append(request)
            if len(asked) <= deaths:
                worker.process.kill()
                worker.process.wait()
        return ask(worker, request, seconds)

    monkeypatch.setattr(symbolic._Worker, "ask", kill_first)
    grade = grade_math(box(f"{deaths}y+z"), example(f"z+{deaths}y"))
    assert grade == 1.0 if deaths == 1 else math.isnan(grade)
    assert len(asked) == 2


def test_time_for_a_batch_that_is_over_is_no_verdict():
    with symbolic.time_limit(0.0), pytest.raises(symbolic.Ungraded, match="batch"):
        symbolic.symbolically_equal(["x+11"], ["11+x"])
    assert symbolic.symbolically_equal(["x+11"], ["11+x"])


def test_a_worker_that_died_is_replaced():
    assert symbolic.symbolically_equal(["x+22"], ["22+x"])
    symbolic._worker.process.kill()
    symbolic._worker.process.wait()
    assert symbolic.symbolically_equal(["x+33"], ["33+x"])


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
    assert grade_math(box("1+f"), example("f+1")) == 1.0
    mine = symbolic._worker.process.pid
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def child():
        grade = grade_math(box("2+f"), example("f+2"))
        results.put((grade, symbolic._worker.process.pid))

    forked = context.Process(target=child)
    forked.start()
    forked.join(timeout=60)
    assert forked.exitcode == 0
    grade, pid = results.get()
    assert grade == 1.0 and pid != mine
    assert grade_math(box("3+f"), example("f+3")) == 1.0
    assert symbolic._worker.process.pid == mine
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

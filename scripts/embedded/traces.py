"""Worked Countdown solutions to train the embedded model on.

A trace tries wrong ways in random order, each with its arithmetic right, and then either finds the
target or stops and boxes its last wrong try. So the model learns to search, sometimes fails, and
leaves something to trace and something for reinforcement learning to improve.
"""

import random

from flowtracer.tasks.countdown import Attempt, Problem, all_problems, attempts, sampled_problems

GIVE_UP_SHARE = 1 / 3
MOST_WRONG_TRIES = 4
SAMPLE = 40_000


def training_problems(count: int = 3, *, sample: int = SAMPLE) -> list[Problem]:
    """Problems with so many numbers that no test has: all with three, some of those with four."""
    if count == 3:
        return [problem for problem in all_problems() if not problem.held_out]
    return [problem for problem, _ in sampled_problems(sample, 0, count=count, held_out=False)]


def write_trace(problem: Problem, generator: random.Random) -> str:
    """One response to `problem`: attempts, verdicts, and a boxed expression."""
    ways = attempts(tuple(sorted(problem.numbers)))
    right = [way for way in ways if way.value == problem.target]
    wrong = [way for way in ways if way.value != problem.target]
    gives_up = generator.random() < GIVE_UP_SHARE
    tries = generator.randint(1 if gives_up else 0, MOST_WRONG_TRIES)
    shown = generator.sample(wrong, min(tries, len(wrong)))
    lines = [_line(way, f"not {problem.target}") for way in shown]
    if gives_up and shown:
        boxed = shown[-1]
        lines.append("I stop here.")
    else:
        boxed = generator.choice(right)
        lines.append(_line(boxed, "yes"))
    return "\n".join([*lines, f"\\boxed{{{boxed.expression}}}"])


def _line(way: Attempt, verdict: str) -> str:
    return f"{', '.join(way.steps)}, {verdict}."

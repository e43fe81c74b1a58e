"""Countdown: reach a target with every given number used once and the operations + - * /.

Problems, their complete list of attempts, and an exact checker. Nothing is evaluated as code:
the checker walks a parsed arithmetic expression with fractions.
"""

import ast
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import combinations, combinations_with_replacement

LARGEST_NUMBER = 25
LARGEST_TARGET = 100
LARGEST_INTERMEDIATE = 200
LONGEST_EXPRESSION = 200  # characters; longer text is not an answer and is not parsed
HELD_OUT_RATIO = 1 / 16


@dataclass(frozen=True)
class Problem:
    """Numbers to combine and the value to reach."""

    numbers: tuple[int, ...]
    target: int

    @property
    def prompt(self) -> str:
        """The user's message."""
        return f"Make {self.target} from {', '.join(map(str, self.numbers))}."

    @property
    def held_out(self) -> bool:
        """Whether the problem is kept out of training, whatever the order of its numbers.

        Decided by a hash, so that every program and every seed agrees on the split.
        """
        key = f"{sorted(self.numbers)}->{self.target}".encode()
        return int.from_bytes(hashlib.sha256(key).digest()[:8]) < HELD_OUT_RATIO * 2**64


@dataclass(frozen=True)
class Attempt:
    """One complete way to combine all numbers."""

    steps: tuple[str, ...]  # "12 - 7 = 5", one per operation
    expression: str  # "(12 - 7) * 3", without outer parentheses
    value: int


def _combine(a: int, b: int) -> Iterator[tuple[int, str, int, int]]:
    """All positive integer results of one operation, as (left, operator, right, result)."""
    high, low = max(a, b), min(a, b)
    yield high, "+", low, high + low
    yield high, "*", low, high * low
    if high > low:
        yield high, "-", low, high - low
    if high % low == 0:
        yield high, "/", low, high // low


def _moves(pool: list[tuple[int, str]]) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Every operation on two of the values: its text, and the values with expressions after it."""
    for i, j in combinations(range(len(pool)), 2):
        rest = [item for k, item in enumerate(pool) if k not in (i, j)]
        (a, text_a), (b, text_b) = sorted((pool[i], pool[j]), reverse=True)
        for left, operator, right, result in _combine(a, b):
            if result <= LARGEST_INTERMEDIATE:
                expression = f"({text_a} {operator} {text_b})"
                yield f"{left} {operator} {right} = {result}", [*rest, (result, expression)]


@cache
def attempts(numbers: tuple[int, ...]) -> tuple[Attempt, ...]:
    """Every way to combine `numbers` with intermediate values in 1..200 (our choice)."""
    distinct: dict[tuple[tuple[str, ...], str], Attempt] = {}

    def search(pool: list[tuple[int, str]], steps: tuple[str, ...]) -> None:
        if len(pool) == 1:
            value, expression = pool[0]
            distinct.setdefault((steps, expression), Attempt(steps, expression[1:-1], value))
            return
        for step, left_over in _moves(pool):
            search(left_over, (*steps, step))

    search([(number, str(number)) for number in sorted(numbers)], ())
    return tuple(distinct.values())


@cache
def all_problems(count: int = 3) -> tuple[Problem, ...]:
    """Every solvable problem with `count` numbers in 1..25 and a target in 1..100 (our choice)."""
    problems: list[Problem] = []
    for numbers in combinations_with_replacement(range(1, LARGEST_NUMBER + 1), count):
        values = {attempt.value for attempt in attempts(numbers)}
        reachable = sorted(value for value in values if value <= LARGEST_TARGET)
        problems.extend(Problem(numbers, value) for value in reachable if value not in numbers)
    return tuple(problems)


def held_out_problems(how_many: int, seed: int) -> list[Problem]:
    """Problems that no training run may see, drawn without replacement, numbers shuffled."""
    generator = random.Random(seed)
    pool = [problem for problem in all_problems() if problem.held_out]
    drawn = generator.sample(pool, how_many)
    return [
        Problem(tuple(generator.sample(problem.numbers, len(problem.numbers))), problem.target)
        for problem in drawn
    ]


def reachable(numbers: tuple[int, ...]) -> dict[int, str]:
    """Every value that combining all `numbers` can reach, each with one expression.

    The same values as `attempts`, without listing every way, so that four numbers take
    milliseconds.
    """
    expressions: dict[int, str] = {}
    seen: set[tuple[int, ...]] = set()

    def search(pool: list[tuple[int, str]]) -> None:
        values = tuple(sorted(value for value, _ in pool))
        if values in seen:
            return
        seen.add(values)
        if len(pool) == 1:
            value, text = pool[0]
            expressions[value] = text[1:-1]
            return
        for _, left_over in _moves(pool):
            search(left_over)

    search([(number, str(number)) for number in sorted(numbers)])
    return expressions


def sampled_problems(
    how_many: int, seed: int, *, count: int = 4, held_out: bool
) -> list[tuple[Problem, str]]:
    """Different problems with `count` numbers, each with a solution, drawn without listing all.

    Numbers in 1..25 and targets in 1..100 as in `all_problems`; the numbers are drawn evenly, then
    a target out of those on this side of the split. Raises ValueError if there are too few.
    """
    generator = random.Random(seed)
    drawn: dict[tuple[tuple[int, ...], int], tuple[Problem, str]] = {}
    tries = 0
    while len(drawn) < how_many:
        tries += 1
        if tries > 100 * how_many + 1000:
            raise ValueError(f"there are fewer than {how_many} such problems; ask for fewer")
        numbers = tuple(generator.randint(1, LARGEST_NUMBER) for _ in range(count))
        solutions = reachable(numbers)
        targets = [
            value
            for value in sorted(solutions)
            if value <= LARGEST_TARGET and value not in numbers
            if Problem(numbers, value).held_out == held_out
        ]
        if targets:
            problem = Problem(numbers, generator.choice(targets))
            key = tuple(sorted(numbers)), problem.target
            drawn.setdefault(key, (problem, solutions[problem.target]))
    return list(drawn.values())


_OPERATIONS = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


def is_solution(expression: str, problem: Problem) -> bool:
    """Whether `expression` uses each number exactly once and equals the target exactly.

    Malformed text is False, never an error. Long text is rejected unparsed, so grading is bounded.
    """
    if len(expression) > LONGEST_EXPRESSION:
        return False
    used: list[int] = []

    def value(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value=int(number)) if not isinstance(number, bool):
                used.append(number)
                return Fraction(number)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
                return _OPERATIONS[type(op)](value(left), value(right))
        raise ValueError("not plain arithmetic")

    try:
        result = value(ast.parse(expression.strip(), mode="eval").body)
    except (ValueError, SyntaxError, ZeroDivisionError, RecursionError, MemoryError):
        return False
    return result == problem.target and sorted(used) == sorted(problem.numbers)

"""How well answers are compared: our rules alone, math-verify alone, both, and without each rule.

    python scripts/graders.py          # writes results/graders/README.md, takes some minutes

Reads the pairs of tests/math_answers/pairs.jsonl.
"""

import argparse
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from unittest import mock

from math_verify import parse, verify

from flowtracer.math_answers import equality, symbolic, symbolic_worker, text

ROOT = Path(__file__).parents[1]
PAIRS = ROOT / "tests" / "math_answers" / "pairs.jsonl"
NEVER = re.compile(r"(?!x)x()()()()")  # matches nothing


@dataclass(frozen=True)
class Pair:
    """A reference, an answer, and whether they are equal."""

    reference: str
    answer: str
    equal: bool
    options: dict[str, object] = field(default_factory=dict, hash=False)


def read_pairs(path: Path = PAIRS) -> list[Pair]:
    """All pairs, with the options that `equality.equal` takes."""
    pairs = []
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        options = {
            "several": row.get("multiple", False),
            "unit": row.get("unit", ""),
            "tolerance": float(row.get("tolerance", 0)),
            "relative": row.get("relative", 0.0),
        }
        for label in ("equal", "different"):
            pairs += [
                Pair(row["reference"], answer, label == "equal", options) for answer in row[label]
            ]
    return pairs


def both(pair: Pair) -> bool:
    """Our rules, then math-verify: what the graders do."""
    return equality.equal(pair.reference, pair.answer, **pair.options)  # type: ignore[arg-type]


def rules_alone(pair: Pair) -> bool:
    """Our rules; what they leave to math-verify is not equal."""
    with mock.patch.object(equality, "symbolically_equal", lambda *sides, relative: False):
        return both(pair)


def math_verify_alone(pair: Pair) -> bool:
    """math-verify as it comes, on answers in dollars."""
    return bool(verify(parse(f"${pair.reference}$"), parse(f"${pair.answer}$")))


@cache
def _in_this_process(
    references: tuple[str, ...], answers: tuple[str, ...], relative: float
) -> bool:
    try:
        return symbolic_worker.matches(list(references), list(answers), relative)
    except Exception:  # as the worker does
        return False


@contextmanager
def without(module: object, name: str, value: object) -> Iterator[None]:
    """A rule switched off."""
    with mock.patch.object(module, name, value):
        yield


def ablations() -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and context manager of every rule that can be switched off."""
    for name in text.SPELLINGS:
        left = {key: rule for key, rule in text.SPELLINGS.items() if key != name}
        yield f"spelling: {name}", lambda left=left: without(text, "SPELLINGS", left)
    for name in equality.COMPARISONS:
        kept = {key: rule for key, rule in equality.COMPARISONS.items() if key != name}
        yield f"comparison: {name}", lambda kept=kept: without(equality, "COMPARISONS", kept)
    for name, pattern in (
        ("font commands", "_WRAPPED"),
        ("leading sign (≈, x ∈, =)", "_LEADING"),
        ("unit in LaTeX", "_UNIT"),
        ("unit in words", "_PLAIN_UNIT"),
        ("power of ten alone", "_TEN_TO"),
        ("fraction as a number", "_FRACTION"),
    ):
        yield f"text: {name}", lambda pattern=pattern: without(text, pattern, NEVER)
    yield "equality: lists", lambda: without(equality, "parts", lambda answer: [answer])
    yield "equality: six digits", lambda: without(equality, "SAME_DECIMAL", -1)
    yield (
        "equality: fonts off before math-verify",
        lambda: without(equality, "without_fonts", lambda answer: answer),
    )
    yield (
        "math-verify: i and real variables",
        lambda: without(symbolic_worker, "_with_plain_symbols", lambda expression: expression),
    )


def score(pairs: Sequence[Pair], compare: Callable[[Pair], bool]) -> tuple[list[Pair], float]:
    """The pairs that a comparison gets wrong, and the seconds it took."""
    started = time.perf_counter()
    wrong = [pair for pair in pairs if compare(pair) != pair.equal]
    return wrong, time.perf_counter() - started


def write(pairs: list[Pair], folder: Path) -> None:
    """Measure, and write the tables of results/graders."""
    rows, errors = [], {}
    equal = sum(pair.equal for pair in pairs)
    symbolic.symbolically_equal(["x+1"], ["1+x"])  # the process is up before the clock starts
    for name, compare in (
        ("our rules alone", rules_alone),
        ("math-verify alone", math_verify_alone),
        ("both", both),
    ):
        errors[name], seconds = score(pairs, compare)
        false_positives = sum(not pair.equal for pair in errors[name])
        rows.append(
            f"| {name} | {1 - len(errors[name]) / len(pairs):.1%} | {false_positives} of "
            f"{len(pairs) - equal} | {len(errors[name]) - false_positives} of {equal} | "
            f"{1000 * seconds / len(pairs):.1f} |"
        )
    changes = []
    with mock.patch.object(
        equality,
        "symbolically_equal",
        lambda left, right, relative: _in_this_process(tuple(left), tuple(right), relative),
    ):
        full = {id(pair) for pair in score(pairs, both)[0]}
        for name, switched_off in ablations():
            if name.startswith("math-verify"):
                _in_this_process.cache_clear()
            with switched_off():  # type: ignore[attr-defined]
                wrong = score(pairs, both)[0]
            worse = [pair for pair in wrong if id(pair) not in full]
            mended = len(full) - (len(wrong) - len(worse))
            example = f"`{worse[0].reference}` and `{worse[0].answer}`" if worse else ""
            changes.append(f"| {name} | {len(worse)} | {mended} | {example.replace('|', '')} |")
    folder.mkdir(parents=True, exist_ok=True)
    left = [f"- `{pair.reference}` and `{pair.answer}`" for pair in errors["both"]]
    lines = [
        "# Comparing answers",
        "",
        f"{len(pairs):,} pairs of a reference and an answer (`tests/math_answers/pairs.jsonl`), {equal} of "
        "them equal. Made by `python scripts/graders.py`.",
        "",
        "| | right | false positives | false negatives | ms a pair |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "math-verify alone knows nothing of MinervaMath's tolerance of 1%, units that the data names, or "
        "bases. Both get these wrong:",
        "",
        *left,
        "",
        "## Without one rule",
        "",
        "How many pairs go wrong when one rule is switched off, how many come right, and the first that goes "
        "wrong. Rules that changed no pair were taken out, but for degrees, which `grade_number` needs: it "
        "does without math-verify. Checks that keep long work away from sympy (`is_tame`) are judged by "
        "time, not by this table.",
        "",
        "| rule | wrong | mended | for example |",
        "|---|---|---|---|",
        *changes,
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=ROOT / "results" / "graders")
    logging.disable(logging.CRITICAL)
    write(read_pairs(), options.parse_args().out)

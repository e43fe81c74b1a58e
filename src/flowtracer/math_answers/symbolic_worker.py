"""The process that runs math-verify: reads JSON lines, answers true or false, one line each.

A script of its own, started by `symbolic`, because sympy can take forever or all memory on hostile
text, and only a process can be stopped. It imports nothing of flowtracer, so that it starts fast.
"""

import json
import logging
import signal
import sys
from typing import Any

MEMORY = 2 * 1024**3  # bytes of address space; our choice: ten times what a normal request takes
LAST_RESORT = 30  # seconds of work; the parent stops us sooner, unless it is gone


class _TooLong(BaseException):
    """Nothing between the clock and the loop over requests catches this."""


def _raise_too_long(*_: object) -> None:
    raise _TooLong


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):  # not on this system: the time limit has to do
        pass


def _parsed(text: str) -> list[Any]:
    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    # Only LaTeX: the plain-number rule would take the first number out of any sentence. Units are
    # taken off before, in `text`: here 2s would become 2.
    reading = NormalizationConfig(malformed_operators=True, nits=True)
    expressions = parse(
        f"${text}$",
        [LatexExtractionConfig(normalization_config=reading)],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )
    return [_with_plain_symbols(expression) for expression in expressions]


def _with_plain_symbols(expression: Any) -> Any:
    """The imaginary unit for i, which math-verify takes for a variable, and real variables.

    math-verify chooses real or complex variables by the text, and a real x is no complex x.
    """
    from sympy import I, Symbol

    return expression.xreplace(
        {
            symbol: I if symbol.name == "i" else Symbol(symbol.name, real=True)
            for symbol in expression.free_symbols
        }
    )


def _close(reference: list[Any], answer: list[Any], relative: float) -> bool:
    values = [complex(side[0].doit().evalf()) for side in (reference, answer)]
    return abs(values[0] - values[1]) <= relative * abs(values[0])


def equal(reference: str, answer: str, relative: float) -> bool:
    """Whether math-verify finds the two equal, or they are numbers within a relative tolerance."""
    from math_verify import verify

    gold, parsed = _parsed(reference), _parsed(answer)
    if not gold or not parsed:
        return False
    if verify(gold, parsed, allow_set_relation_comp=True, timeout_seconds=None):
        return True
    try:
        return relative > 0 and _close(gold, parsed, relative)
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return False


def matches(references: list[str], answers: list[str], relative: float) -> bool:
    """Whether every reference has an equal answer of its own, in any order."""
    left = list(answers)
    for reference in references:
        match = next((answer for answer in left if equal(reference, answer, relative)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def main() -> None:
    """Answer requests until the input ends."""
    _limit_memory()
    logging.disable(logging.CRITICAL)
    sys.set_int_max_str_digits(4300)
    replies = sys.stdout
    sys.stdout = sys.stderr  # what a library prints must not be taken for a reply
    equal("\\frac{1}{2}", "x^2+1", 0.0)  # loads the grammar before the clock starts
    replies.write('"ready"\n')
    replies.flush()
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _raise_too_long)
    for line in sys.stdin:
        replies.write(json.dumps(_reply(json.loads(line))) + "\n")
        replies.flush()


def _reply(request: dict[str, Any]) -> bool | str:
    """Whether all are equal, or "late"."""
    seconds = request.pop("seconds")
    try:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, LAST_RESORT)  # kills, also inside long arithmetic
            signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return matches(**request)
        finally:
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.setitimer(signal.ITIMER_PROF, 0)
    except _TooLong:
        return "late"
    except (Exception, RecursionError, MemoryError):
        return False


if __name__ == "__main__":
    main()

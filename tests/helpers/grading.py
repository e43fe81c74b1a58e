"""Examples and responses for the graders."""

import os
from pathlib import Path

from flowtracer.tasks import Example

DATA = Path(os.environ.get("FLOWTRACER_DATA") or Path(__file__).parents[3] / "shared" / "data")


def example(answer, extra=None):
    return Example("1", "?", answer, extra or {})


def box(text):
    return f"The answer is \\boxed{{{text}}}."

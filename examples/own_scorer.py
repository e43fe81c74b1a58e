"""Add a scorer of your own and test it beside flow: which tokens, knocked out, change more answers?

    python examples/own_scorer.py --problems 20

A scorer is a function of what was read of the model. This one scores a token by the attention that the
last token before the answer pays to it.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from flowtracer import ScoreOptions
from flowtracer.cli.main import app
from flowtracer.scorers import SCORERS
from flowtracer.scorers.scorer import Evidence, Scorer


def before_answer(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """Attention (B, T) that the token in front of the answer pays to each token."""
    attention, answer = evidence.attention, evidence.batch.answer  # (B, T, T), (B, T)
    assert attention is not None  # it is among the scorer's needs
    last = (answer > 0).int().argmax(1) - 1
    return attention[torch.arange(len(last)), last]


# One line. `needs` says what is read of the model; nothing else is computed.
SCORERS["before_answer"] = Scorer(before_answer, frozenset({"attention"}), after_answer=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/own-scorer"))
    options = parser.parse_args()

    # From here on every command of this process knows the scorer, and so does `Credit(scorer=...)`.
    command = ["study", "causal", "--problems", str(options.problems), "--out", str(options.out)]
    for name in ("before_answer", "flow", "random"):
        command += ["--scorer", name]
    app(command, standalone_mode=False)


if __name__ == "__main__":
    main()

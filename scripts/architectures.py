"""Measure the architectures of docs/models.md with tiny random models, and write its tables.

python scripts/architectures.py

The list and the measurements are those of tests/attention/test_architectures.py.
"""

import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import torch  # noqa: E402
import transformers  # noqa: E402
from helpers.architectures import READ, REFUSED, tiny_model  # noqa: E402
from helpers.ways import PAGE, WAYS, outcome, refusal  # noqa: E402

from flowtracer.attention import AttentionCaptureError, mean_attention  # noqa: E402

BEGIN, END = "<!-- begin: written by scripts/architectures.py -->", "<!-- end -->"


def main() -> None:
    """Write the tables between the marks of the page."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    read, refused = [], []
    for name in READ:
        measured = outcome(name)
        read.append(measured.cells)
        print(*measured.cells, *measured.reasons.values(), sep=" | ", flush=True)
    for name in REFUSED:
        model = tiny_model(name)
        try:
            mean_attention(model, torch.ones(1, 4, dtype=torch.long))
        except AttentionCaptureError as error:
            refused.append(refusal(name, model, str(error)))
    heads = ["model type", "class", "layers", '"middle"', "difference", *WAYS]
    lines = [
        f"{len(read)} architectures of transformers {transformers.__version__} are read:\n",
        *_table(heads, read),
        f"\n{len(refused)} are refused:\n",
        *_table(["model type", "class", "the sentence"], refused),
    ]
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after, encoding="utf-8")


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    ruled = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in ruled]


if __name__ == "__main__":
    main()

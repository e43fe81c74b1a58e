"""The code of docs/engines.md, and the responses that it is tried on."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import pytest  # noqa: E402
from helpers.plug_ins import weights_alone  # noqa: E402
from helpers.responses import GOOD, NO_BOX, SHORT  # noqa: E402

from flowtracer.models import load  # noqa: E402

PROMPT = "<|user|>Make 33 from 3, 7, 18.<|end|><|assistant|>"
RESPONSES = (GOOD, NO_BOX, SHORT)


def recipe(heading):
    """The first Python code below a heading of docs/engines.md."""
    text = (HERE.parent / "docs/engines.md").read_text()
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture(scope="session")
def embedded():
    """A real model and its tokenizer."""
    return load("embedded")


@pytest.fixture
def rows(embedded):
    """Token ids of the prompt and of each response."""

    def ids(text):
        return list(embedded.tokenizer(text, add_special_tokens=False)["input_ids"])

    return ids(PROMPT), [ids(one) for one in RESPONSES]


@pytest.fixture
def expected(embedded, rows):
    """Weights of the responses, from `token_credit` on each alone."""
    import torch

    from flowtracer.credit import Credit

    prompt, responses = rows
    found = [
        weights_alone(
            embedded, torch.tensor(prompt + response), torch.ones(len(response)), Credit()
        )
        for response in responses
    ]
    assert bool((found[0] == 1.5).any()) and bool((found[1] == 1).all())
    return found

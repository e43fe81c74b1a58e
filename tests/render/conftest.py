"""What the tests of the page share."""

import pytest
from helpers.browser import chromium
from helpers.traces import HOSTILE, made_trace

from flowtracer import trace


@pytest.fixture(scope="package")
def browser():
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="package")
def hostile():
    return made_trace(["user: ", *HOSTILE], ["so ", *HOSTILE, "\n", "42", "."], answer=-2)


@pytest.fixture(scope="package")
def layered(embedded):
    """A trace of a real model, with other scorers and with the flow of every layer."""
    response = (
        "18 + 7 = 25, 25 + 3 = 28, not 33.\n18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}"
    )
    return trace(embedded.model, embedded.tokenizer, "Make 33 from 3, 7, 18.", response)

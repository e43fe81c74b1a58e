"""What the tests of the page share."""

import pytest
from helpers.browser import chromium
from helpers.traces import HOSTILE, made_trace


@pytest.fixture(scope="package")
def browser():
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="package")
def hostile():
    return made_trace(["user: ", *HOSTILE], ["so ", *HOSTILE, "\n", "42", "."], answer=-2)

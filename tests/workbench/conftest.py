"""One server with the embedded model and one browser for all tests of the page."""

import pytest
from helpers.browser import chromium
from helpers.serving import Server, open_workbench, quiet


@pytest.fixture(scope="package")
def server():
    started = Server()
    yield started
    started.kill()


@pytest.fixture(scope="package")
def browser(server):
    with chromium(1300, 900, "--proxy-server=127.0.0.1:9") as driver:  # loopback alone is reached
        yield driver


@pytest.fixture
def page(browser, server):
    """A fresh page; it must have been silent at the end."""
    open_workbench(browser, server)
    yield browser
    assert quiet(browser) == []

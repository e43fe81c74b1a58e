"""A real `flowtracer serve` in a process of its own, and its page in a browser."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PROBLEM = "Make 33 from 2, 5, 23."
LINE = "23 + 2 = 25, 25 + 5 = 30, not 33.\n"  # 16 tokens of the embedded model
SOLVED = "5 * 2 = 10, 23 + 10 = 33, yes.\n\\boxed{23 + (5 * 2)}"


class Server:
    """A server that can be killed and started again at the same port."""

    def __init__(self, *arguments: str) -> None:
        pytest.importorskip("uvicorn")
        self._arguments = arguments
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "flowtracer", "serve", "--no-browser", "--port"]
        self._process = subprocess.Popen(
            [*command, str(self.port), *self._arguments],
            env=os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.address = line.split()[-1]
        match = re.search(r":(\d+)/", self.address)
        assert match, line
        self.port = int(match[1])

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, by default without a chance to say goodbye."""
        self._process.send_signal(number)
        self._process.wait(timeout=10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def post(self, path: str, data: dict[str, Any]) -> dict[str, Any]:
        """The answer to a body, as another client than the page gets it."""
        kind = {"content-type": "application/json"}
        body = json.dumps(data).encode()
        with urlopen(Request(self.address + path, body, kind), timeout=60) as response:
            return json.load(response)

    def events(self, job: str) -> str:
        """All events of a job, once it has ended."""
        with urlopen(f"{self.address}api/jobs/{job}/events", timeout=120) as response:
            return response.read().decode()


def wait(browser: Any, condition: str, seconds: float = 20.0) -> Any:
    """The value of a JavaScript expression, once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = browser.execute_script(f"return {condition}")
        if value:
            return value
        time.sleep(0.02)
    said = browser.execute_script(
        "return [...document.querySelectorAll('.wb-error:not([hidden])')].map(n => n.textContent)"
    )
    pytest.fail(f"not within {seconds:g} s: {condition}; the page says {said}")


def open_workbench(browser: Any, server: Server, fragment: str = "") -> None:
    """A fresh page, ready, in a tab that remembers nothing."""
    browser.get("about:blank")
    browser.get(f"{server.address}assets/theme.css")
    browser.execute_script("sessionStorage.clear(); localStorage.clear()")
    browser.get(server.address + fragment)
    wait(browser, "document.documentElement.dataset.ready === 'yes'")


def click(browser: Any, selector: str) -> None:
    """Press what fits first; a real click, so it must be in sight and enabled."""
    node = browser.find_element("css selector", selector)
    browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", node
    )
    node.click()


def choose(browser: Any, selector: str, value: str) -> None:
    """Set a field as a user does: the value, then that it changed."""
    browser.execute_script(
        "const n = document.querySelector(arguments[0]); n.value = arguments[1];"
        "n.dispatchEvent(new Event('input', {bubbles: true}));"
        "n.dispatchEvent(new Event('change', {bubbles: true}))",
        selector,
        value,
    )


def answer(browser: Any, prompt: str = PROBLEM) -> None:
    """Let the model answer, and wait for the trace."""
    choose(browser, "#prompt", prompt)
    click(browser, "#answer")
    wait_for_trace(browser)


def paste(browser: Any, response: str, prompt: str = PROBLEM) -> None:
    """Paste a response, and wait for the trace."""
    choose(browser, "#prompt", prompt)
    if browser.execute_script("return document.getElementById('pasting').hidden"):
        click(browser, "#paste")
    choose(browser, "#response", response)
    click(browser, "#paste")
    wait_for_trace(browser, 60)


def wait_for_trace(browser: Any, seconds: float = 20.0) -> None:
    """Until the view shows the trace of the open text."""
    wait(
        browser,
        "flowtracer.bench.entry?.data && flowtracer.bench.view?.data === flowtracer.bench.entry.data"
        " && !flowtracer.jobs.running.length",
        seconds,
    )


def state(browser: Any, expression: str) -> Any:
    """What the page knows: an expression of `bench`, `entry` and `view`."""
    return browser.execute_script(
        f"const {{bench}} = flowtracer, {{entry, view}} = bench; return {expression}"
    )


def shown(browser: Any, selector: str) -> str:
    """Text of the first element that fits, "" where it is hidden."""
    return browser.find_element("css selector", selector).text


def quiet(browser: Any) -> list[Any]:
    """What the browser complained about, refused requests left out."""
    return [
        entry
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE" and entry["source"] != "network"
    ]

"""How fast the workbench is: start, first token, a trace, and hiding tokens against plain decoding.

    python bench/workbench.py
    python bench/workbench.py --model HuggingFaceTB/SmolLM2-135M-Instruct

Starts `flowtracer serve` and asks it as the page does. Hiding is compared with answering by seconds a
token, both streamed over the same connection, alternated; medians.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

from measure import processor

IMPORTS = (
    "import flowtracer.cli.serve, flowtracer.workbench.launch, flowtracer.models.loading, torch"
)
LINES = 24  # of a pasted response with about 300 tokens


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--prompt", default="Make 33 from 2, 5, 23.")
    options = parser.parse_args()
    figures: dict[str, Any] = {"processor": processor(), "model": options.model}
    figures["seconds_of_imports"] = statistics.median(_seconds_of_imports() for _ in range(3))
    began = time.perf_counter()
    command = [sys.executable, "-m", "flowtracer", "serve", "--no-browser", "--port", "0"]
    server = subprocess.Popen(
        [*command, "--model", options.model], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        address = next(word for word in server.stdout.readline().split() if word.startswith("http"))
        host = address.removeprefix("http://").rstrip("/")
        _request(host, "GET", "/")
        _request(host, "GET", "/api/info")
        figures["seconds_from_start_to_page"] = time.perf_counter() - began
        figures |= _measure(host, options.prompt, options.repeats)
    finally:
        server.terminate()
        server.wait(timeout=30)
    print(json.dumps(figures, indent=1))


def _measure(host: str, prompt: str, repeats: int) -> dict[str, Any]:
    first, traces, answering, hiding = [], [], [], []
    count = 0
    for repeat in range(repeats):
        token, total, text = _run(host, kind="answer", prompt=prompt)
        tokens = len(text["response_ids"])
        first.append(token)
        answering.append(total / max(1, tokens))
        hidden = [len(text["prompt_ids"]) // 2]
        _, total, new = _run(host, kind="hide", text=text["id"], tokens=hidden, **{"from": "start"})
        hiding.append(total / max(1, len(new["response_ids"])))
        # Another text each time, so that nothing is remembered.
        line = f"7 * 3 = 21, 21 + {repeat + 10} = {repeat + 31}, not 33.\n"
        response = line * LINES + "\\boxed{(18 - 7) * 3}"
        pasted = _run(host, kind="paste", prompt=prompt, response=response)[2]
        count = len(pasted["response_ids"])
        traces.append(_run(host, kind="trace", text=pasted["id"])[1])
    return {
        "seconds_to_first_token": statistics.median(first),
        "seconds_of_trace": statistics.median(traces),
        "tokens_of_traced_response": count,
        "milliseconds_a_token": 1000 * statistics.median(answering),
        "hiding_over_answering": statistics.median(hiding) / statistics.median(answering),
    }


def _run(host: str, **job: Any) -> tuple[float, float, dict[str, Any]]:
    """Seconds to the first token and to the result, and the result, of one job."""
    began = time.perf_counter()
    name = json.loads(_request(host, "POST", "/api/jobs", job))["job"]
    token = float("nan")
    for event, data in _events(host, f"/api/jobs/{name}/events"):
        if event == "token" and token != token:
            token = time.perf_counter() - began
        if event == "result":
            return token, time.perf_counter() - began, data
        if event in ("error", "cancelled"):
            raise SystemExit(f"{job['kind']} ended in {event}: {data}")
    raise SystemExit(f"{job['kind']} ended without a result")


def _events(host: str, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    connection = HTTPConnection(host, timeout=600)
    connection.request("GET", path)
    event = ""
    for line in connection.getresponse():
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, json.loads(value)


def _request(host: str, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
    connection = HTTPConnection(host, timeout=60)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    response = connection.getresponse()
    content = response.read()
    if response.status >= 400:
        raise SystemExit(f"{method} {path}: {response.status} {content.decode()}")
    return content


def _seconds_of_imports() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

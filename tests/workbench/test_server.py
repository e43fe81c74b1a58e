"""The server over a real socket: streams, clients that go away, Ctrl-C, and a kill in the middle."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from helpers.commands import call
from helpers.workbench import PROBLEM

pytest.importorskip("uvicorn")

SLOW = {"kind": "answer", "prompt": PROBLEM, "temperature": 0.7, "max_new_tokens": 4000}
PATIENCE = 60  # seconds that a machine full of other work may take to start


class Serving:
    """`flowtracer serve` in a process of its own."""

    def __init__(self, *options, port=0):
        command = [sys.executable, "-m", "flowtracer", "serve", "--no-browser", "--port", str(port)]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        match = re.search(r"http://\S+?:(\d+)/\S*", line)
        assert match, line + self.process.stderr.read()
        self.address, self.port = match[0], int(match[1])
        self.headers = {}

    def ask(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        kind = {} if body is None else {"content-type": "application/json"}
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, kind | self.headers | dict(headers))
        return connection.getresponse()

    def submit(self, **request):
        response = self.ask("POST", "/api/jobs", request)
        assert response.status == 202, response.read()
        return json.loads(response.read())["job"]

    def stream(self, job):
        """Events of a job as they come, (name, data)."""
        response = self.ask("GET", f"/api/jobs/{job}/events")
        name = ""
        for line in response:
            line = line.decode().rstrip("\n")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                yield name, json.loads(line[6:])


@pytest.fixture(scope="module")
def server():
    server = Serving()
    yield server
    server.process.kill()
    server.process.communicate()


def first_token(stream):
    return next(data for name, data in stream if name == "token")


def test_two_browsers_at_once(server):
    prompts = (PROBLEM, "Make 24 from 3, 5, 9.")
    streams = [server.stream(server.submit(kind="answer", prompt=prompt)) for prompt in prompts]
    first_token(streams[0])
    ends = [list(stream)[-1] for stream in streams]
    assert [name for name, _ in ends] == ["result", "result"]
    assert ends[0][1]["id"] != ends[1][1]["id"]


def test_a_client_that_goes_away_lets_go_of_the_model(server):
    job = server.submit(**SLOW)
    response = server.ask("GET", f"/api/jobs/{job}/events")
    while not response.readline().startswith(b"event: token"):
        pass
    response.close()
    other = server.stream(server.submit(kind="answer", prompt=PROBLEM))
    assert list(other)[-1][0] == "result"
    assert [name for name, _ in server.stream(job)][-1] in ("cancelled", "result")


def test_a_hundred_megabytes_are_answered_before_they_are_read(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as raw:
        raw.sendall(
            b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100000000\r\n\r\n" + b" " * 65536
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_a_kill_in_the_middle_and_another_start_with_a_token_that_ctrl_c_ends(server):
    stream = server.stream(server.submit(**SLOW))
    first_token(stream)
    server.process.kill()
    with suppress(http.client.HTTPException, OSError):
        assert "result" not in [name for name, _ in stream]
    server.process.wait(PATIENCE)

    token = "0123456789abcdef"
    again = Serving("--host", "0.0.0.0", "--token", token, port=server.port)
    try:
        assert again.address.endswith(f"/#token={token}")
        assert again.ask("GET", "/api/info").status == 401
        again.headers = {"authorization": f"Bearer {token}"}
        assert again.ask("GET", "/api/info", headers={"host": "evil.example"}).status == 403
        stream = again.stream(again.submit(**SLOW))
        first_token(stream)
        again.process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert list(stream)[-1][0] in ("error", "result")
        assert again.process.wait(PATIENCE) == 0
        assert time.monotonic() - began < 10
        assert "Traceback" not in again.process.stderr.read()
    finally:
        again.process.kill()
        again.process.communicate()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "give --token"),
        (["--token", "short"], "at least 16 characters"),
        (["--host", "no.such.host.invalid", "--token", "0" * 16], "cannot be used"),
        (["--model", "/nowhere", "--port", "0"], "no folder with a config.json"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(tmp_path, options, words):
    done = call("serve", "--no-browser", *options, cwd=tmp_path)
    assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1


def test_a_port_in_use_is_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = call("serve", "--no-browser", "--port", port, cwd=tmp_path)
    assert done.returncode == 1 and f"port {port}" in done.stderr and "--port 0" in done.stderr


def test_a_missing_package_is_named_with_the_command_that_brings_it(tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('no', name='uvicorn')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-m", "flowtracer", "serve"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "pip install 'flowtracer[serve]'" in done.stderr


def test_a_file_that_is_no_session_is_refused(tmp_path):
    (tmp_path / "odd.json").write_text('{"schema": "other"}')
    done = call("serve", "--no-browser", "--port", 0, "--open", "odd.json", cwd=tmp_path)
    assert done.returncode == 1 and "odd.json: this is neither a session" in done.stderr

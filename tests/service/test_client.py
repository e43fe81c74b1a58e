"""The client: the same weights as in the process, and what happens if the server is away."""

import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from helpers.scoring import scoring_server, token_rows
from helpers.serving import Server

from flowtracer import Scorer, ScorerClient

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def scorer(embedded):
    return Scorer(embedded)


@pytest.fixture(scope="module")
def server(scorer):
    with scoring_server(scorer, token=TOKEN) as (address, batcher):
        yield address, batcher


def test_either_can_be_asked(server, scorer, embedded):
    ids, lengths = token_rows(embedded, 7)
    client = ScorerClient(server[0])
    assert client.weights(ids, lengths) == scorer.weights(ids, lengths)
    masks = [[0] * n + [1] * (len(row) - n) for row, n in zip(ids, lengths, strict=True)]
    chosen = [True] * 6 + [False]
    assert client.weights(ids, response_masks=masks, row_mask=chosen) == scorer.weights(
        ids, response_masks=masks, row_mask=chosen
    )
    assert pickle.loads(pickle.dumps(client)).info()["model"] == "embedded"
    assert client.weights([], []).weights == []


def test_both_say_the_same_of_a_mistake(server, scorer):
    client = ScorerClient(server[0])
    for arguments in (([[1, "a"]], [1]), ([[1, 2]], [3]), ([[1, 2]], None)):
        said = []
        for source in (client, scorer):
            with pytest.raises(ValueError) as caught:
                source.weights(*arguments)
            said.append(str(caught.value))
        assert said[0] == said[1]


def test_what_the_server_refuses_is_one_sentence(server):
    client = ScorerClient(server[0])
    with pytest.raises(ValueError, match="the request has 10,000 rows and at most 4,096 are taken"):
        client.weights([[1, 2]] * 10_000, [1] * 10_000)
    for wrong in (9999, -5, 1 << 40):
        with pytest.raises(ValueError, match=f"input_ids.* holds {wrong}, which is") as caught:
            client.weights([[1, wrong]], [1])
        assert "\n" not in str(caught.value)
    address = server[0].partition("#")[0]
    for token in ("", "wrong"):
        with pytest.raises(PermissionError, match="the token is missing or wrong"):
            ScorerClient(address, token=token).weights([[1, 2]], [1])
            # A body that the server does not read to its end.
            ScorerClient(address, token=token, patience=5).weights([[1] * 6_000_000], [1])
    with pytest.raises(ValueError, match="has no folder of checkpoints"):
        client.refresh()


def test_a_client_needs_the_standard_library_only():
    code = (
        "import sys; from flowtracer import ScorerClient; ScorerClient('http://127.0.0.1:1'); "
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8642", "ftp://host", "", "http://", "http://[::1", "http://host:99999", "http://a..b",
        "http://host/a b", "http://höst", "http://host?a=1",
    ],
)  # fmt: skip
def test_a_url_that_is_none(url):
    with pytest.raises(ValueError, match="give one such as"):
        ScorerClient(url)


@pytest.mark.parametrize("token", ["ключ0123456789abc", "0123456789abcdef\n"])
def test_a_token_that_cannot_be_sent_is_not_shown(token):
    with pytest.raises(ValueError, match=r"^token must consist of plain ASCII characters$"):
        ScorerClient("http://127.0.0.1:1", token=token)


@pytest.mark.parametrize(
    "status, body, error, said",
    [
        (200, b"<html>", RuntimeError, "is not the address of `flowtracer serve --score`"),
        (200, b"\xff\xfe", RuntimeError, "is not the address of"),
        (200, b"{}", RuntimeError, "the answer is not that of a scorer"),
        (404, b"<html>", RuntimeError, "status 404"),
        (302, b"", RuntimeError, "status 302"),
        (502, b"<html>", ConnectionError, r"no answer within 0.2 s \(status 502\)"),
    ],
)
def test_another_server_is_told_apart(status, body, error, said):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        client = ScorerClient(f"http://127.0.0.1:{other.server_port}", patience=0.2)
        with pytest.raises(error, match=said):
            client.weights([[1, 2]], [1])
        other.shutdown()


def test_patience_ends():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        client = ScorerClient(f"http://127.0.0.1:{bound.getsockname()[1]}", patience=0.3)
        started = time.monotonic()
        with pytest.raises(ConnectionError, match=r"no answer within 0.3 s \(Connection"):
            client.weights([[1, 2]], [1])
        assert time.monotonic() - started < 3


def test_a_server_that_is_busy_is_asked_again(scorer, embedded):
    ids, lengths = token_rows(embedded, 3)
    expected = scorer.weights(ids, lengths)
    results = []
    with scoring_server(scorer, waiting=1) as (address, batcher):
        client = ScorerClient(address, patience=60)
        threads = [
            threading.Thread(target=lambda: results.append(client.weights(ids, lengths)))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert batcher.totals.requests == 6
    assert results == [expected] * 6


@pytest.mark.slow
def test_killed_and_started_again_it_loses_nothing_and_repeats_nothing(scorer, embedded):
    """Three clients under load, the server killed twice: each request has one result, the right one."""
    ids, lengths = token_rows(embedded, 24)
    expected = scorer.weights(ids, lengths).weights
    server = Server("--score", "--token", TOKEN)
    results = {}

    def ask(part):
        client = ScorerClient(server.address, patience=240)
        for number in range(part, 24, 3):
            for turn in range(5):
                token_weights = client.weights(
                    ids[number : number + 1], lengths[number : number + 1]
                )
                results.setdefault((number, turn), []).append(token_weights)

    threads = [threading.Thread(target=ask, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for how in (signal.SIGKILL, signal.SIGTERM):
        done = len(results)
        while len(results) < done + 15 and any(map(threading.Thread.is_alive, threads)):
            time.sleep(0.02)
        assert len(results) < 120, "the load ended before the server was killed"
        server.kill(how)
        server.start()
    for thread in threads:
        thread.join()
    info = ScorerClient(server.address).info()
    server.kill()
    assert len(results) == 120 and all(len(received) == 1 for received in results.values())
    for (number, _), (token_weights,) in results.items():
        assert token_weights.weights == [expected[number]] and len(token_weights.states) == 1
    totals = info["totals"]  # of the last server's life
    assert totals["rows"] == totals["requests"] <= 120 - 30

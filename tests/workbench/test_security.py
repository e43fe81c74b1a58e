"""Requests that are refused: of other sites, under other names, without the token, too large or odd."""

import asyncio
import json

import pytest
from helpers.workbench import post, workbench

from flowtracer.workbench.fields import DEEPEST, Refused, deepest, parse_body
from flowtracer.workbench.guard import LOOPBACK, Access, allowed_host, guarded
from flowtracer.workbench.launch import access_of
from flowtracer.workbench.limits import BODY

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def client(embedded):
    with workbench(embedded) as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:9000"}, 200),  # through a tunnel
        ({"host": "[::1]:8642"}, 200),
        ({"host": "evil.example:8642"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "10.0.0.1:8642"}, 403),
        ({"host": "localhost:8642, evil.example"}, 403),
        ({"host": ""}, 403),
        ({"origin": "http://127.0.0.1:8642"}, 200),
        ({"origin": "http://localhost:8642"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_only_our_own_page_is_served(client, headers, status):
    response = client.get("/api/info", headers=headers)
    assert response.status_code == status
    assert status == 200 or set(response.json()) == {"error"}


def test_another_site_starts_no_job(client):
    headers = {"origin": "https://evil.example", "content-type": "application/json"}
    body = json.dumps({"kind": "answer", "prompt": "Make 4 from 16, 20, 24."})
    assert client.post("/api/jobs", content=body, headers=headers).status_code == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        response = client.post("/api/jobs", content=body, headers={"content-type": kind})
        assert response.status_code == 415 and "JSON" in response.json()["error"]


def test_every_response_has_the_headers_of_a_closed_page(client):
    for path in ("/", "/assets/workbench.css", "/api/info", "/nothing", "/api/jobs/none/events"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "script-src 'self';" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN}0", 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer é".encode(), 401),
        (f"Bearer {TOKEN}", 200),
    ],
)
def test_a_token_is_asked_for_where_there_is_one(embedded, sent, status):
    with workbench(embedded, access=Access(frozenset(LOOPBACK), token=TOKEN)) as client:
        headers = {} if sent is None else {"authorization": sent}
        assert client.get("/api/info", headers=headers).status_code == status
        assert client.get("/").status_code == 200  # which holds no secret, and reads the address


def test_another_address_needs_a_long_token():
    for host, token in (("0.0.0.0", ""), ("0.0.0.0", "short"), ("127.0.0.1", "short")):
        with pytest.raises(ValueError, match="at least 16 characters"):
            access_of(host, token)
    with pytest.raises(ValueError, match="plain ASCII"):
        access_of("0.0.0.0", "é" * 20)
    access = access_of("0.0.0.0", TOKEN)
    assert allowed_host("192.168.0.7:8642", access) and allowed_host("localhost", access)
    assert not allowed_host("evil.example", access)
    assert not access_of("127.0.0.1", "").addresses


def call(access, chunks, headers):
    """The status for a POST, and how many chunks of its body were read."""
    read, sent = 0, []

    async def receive():
        nonlocal read
        read += 1
        chunk = next(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        raise AssertionError("the request came through")

    scope = {"type": "http", "method": "POST", "path": "/api/jobs", "headers": headers}
    asyncio.run(guarded(app, access)(scope, receive, send))
    return sent[0]["status"], read


def test_a_hundred_megabytes_are_refused_without_being_read():
    access = Access(frozenset(LOOPBACK))
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    chunks = (b" " * 65536 for _ in range(1600))
    status, read = call(access, chunks, [*headers, (b"content-length", b"100000000")])
    assert (status, read) == (413, 0)
    status, read = call(access, (b" " * 65536 for _ in range(1600)), headers)
    assert status == 413 and read * 65536 <= BODY + 65536
    for odd in (b"-1", b"many", b"9" * 5000):
        status, read = call(access, iter(()), [*headers, (b"content-length", odd)])
        assert status in (400, 413) and read == 0


@pytest.mark.parametrize("signs", ["[", '{"a":', '["\\"",'])
@pytest.mark.parametrize("closed", [False, True])
def test_ten_thousand_brackets_are_one_sentence(client, signs, closed):
    body = signs * 10_000 + ("]" * 10_000 if closed and signs == "[" else "")
    response = client.post("/api/jobs", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400 and "nests brackets" in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"3", "must be a JSON object"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": 1e999', "not JSON"),
        (b'{"a": 1e999}', "too large a number"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),  # half a character, as bytes
        ('{"a": "\\ud83d"}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
        (b'{"a": "\\ud83d"}', "half a character"),
        (b'{"kind": "answer", "__proto__": {}}', "unknown"),
    ],
)
def test_odd_bodies_are_one_sentence(client, body, words):
    response = client.post("/api/jobs", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400 and words in response.json()["error"]


def test_brackets_in_texts_do_not_count():
    body = json.dumps({"prompt": "[{" * 1000 + '"\\"'}).encode()
    assert deepest(body) == 1 and parse_body(body)["prompt"].startswith("[{[{")
    assert deepest(b"[" * DEEPEST + b"]" * DEEPEST) == DEEPEST
    with pytest.raises(Refused):
        parse_body(b"[" * (DEEPEST + 1))


@pytest.mark.parametrize(
    "path",
    [
        "/assets/", "/assets/../__init__.py", "/assets/%2e%2e/app.py", "/assets/..%2fapp.py",
        "/assets/app.py", "/assets/nothing.js", "/assets/WORKBENCH.HTML", "/assets/%00",
        "/etc/passwd", "/api/gallery/../app", "/api/gallery/..%2f..%2fapp",
        "/api/texts/<script>", "/.git/config",
    ],
)  # fmt: skip
def test_nothing_is_read_from_disk_by_its_name(client, path):
    response = client.get(path)
    assert response.status_code == 404 and set(response.json()) == {"error"}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(client, method):
    response = client.request(method, "/api/info")
    assert response.status_code == 405 and response.json()["error"]


def test_text_of_users_is_data(client):
    hostile = "<img src=x onerror=alert(1)>{{7*7}}${7*7}`id`"
    error = post(client, "/api/jobs", {"kind": hostile}).json()
    assert hostile[:20] in error["error"]
    response = post(client, "/api/jobs", {"kind": "answer", "prompt": "x", hostile: 1})
    assert response.headers["content-type"] == "application/json"


def test_a_byte_order_mark_is_no_part_of_a_body():
    assert parse_body(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}

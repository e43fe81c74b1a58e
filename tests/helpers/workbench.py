"""A workbench without a socket, and its jobs as lists of events."""

import json
from contextlib import contextmanager

import pytest

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from flowtracer.workbench.app import build_app
from flowtracer.workbench.engine import Engine
from flowtracer.workbench.guard import LOOPBACK, Access
from flowtracer.workbench.jobs import Jobs
from flowtracer.workbench.limits import Limits

PROBLEM = "Make 4 from 16, 20, 24."


@contextmanager
def workbench(loaded, *, limits=None, access=None, opened=None, waiting=16):
    """A client of a server with this model; its `engine` and `jobs` are attributes."""
    engine, jobs = Engine(loaded, limits or Limits()), Jobs(waiting=waiting)
    app = build_app(engine, jobs, access or Access(frozenset(LOOPBACK)), opened)
    client = TestClient(app, base_url="http://127.0.0.1:8642")
    client.engine, client.jobs = engine, jobs
    try:
        yield client
    finally:
        jobs.close(patience=5)


def post(client, path, data):
    """The response to a body of JSON, halves of characters included."""
    headers = {"content-type": "application/json"}
    return client.post(path, content=json.dumps(data), headers=headers)


def events(client, job):
    """All events of a job, [(name, data), ...], once it has ended."""
    return parse_events(client.get(f"/api/jobs/{job}/events").text)


def parse_events(text):
    """[(name, data), ...] of a stream's text."""
    parsed_events = []
    for block in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.split("\n") if not line.startswith(":") and line
        )
        if fields:
            parsed_events.append((fields["event"], json.loads(fields["data"])))
    return parsed_events


def run(client, kind, **fields):
    """All events of a new job."""
    response = post(client, "/api/jobs", {"kind": kind, **fields})
    assert response.status_code == 202, response.text
    return events(client, response.json()["job"])


def result(client, kind, **fields):
    """What a new job gives."""
    name, data = run(client, kind, **fields)[-1]
    assert name == "result", data
    return data


def failure(client, kind, **fields):
    """The sentence with which a new job is refused, at once or later."""
    response = post(client, "/api/jobs", {"kind": kind, **fields})
    if response.status_code != 202:
        return response.json()["error"]
    name, data = events(client, response.json()["job"])[-1]
    assert name == "error", data
    return data["message"]

"""One worker, a bounded queue: order, cancelling, errors, late readers and shutdown."""

import asyncio
import threading
import time

import pytest
from helpers.workbench import PROBLEM, events, post, workbench

from flowtracer.workbench.events import stream_events
from flowtracer.workbench.fields import Refused
from flowtracer.workbench.jobs import SHUTTING_DOWN, Job, Jobs, run_job


@pytest.fixture
def jobs():
    jobs = Jobs(waiting=2)
    yield jobs
    jobs.close(patience=5)


def busy(started=None):
    """Work that goes on until it is cancelled."""

    def run(job):
        if started is not None:
            started.set()
        while True:
            job.check()
            time.sleep(0.002)

    return run


def occupy(jobs):
    """A job that keeps the worker busy."""
    started = threading.Event()
    job, _ = jobs.submit(busy(started))
    assert started.wait(5)
    return job


def wait_for(job):
    """The names of a job's events once it has ended."""
    deadline = time.monotonic() + 5
    while not job.ended and time.monotonic() < deadline:
        time.sleep(0.002)
    return [name for name, _ in job.events]


def test_jobs_wait_for_their_turn_and_the_queue_is_bounded(jobs):
    first = occupy(jobs)
    (second, position), (third, next_position) = (jobs.submit(lambda job: {}) for _ in range(2))
    assert (position, next_position) == (1, 2)
    with pytest.raises(Refused, match="busy") as refused:
        jobs.submit(lambda job: {})
    assert refused.value.status == 429
    jobs.cancel(first)
    assert wait_for(first)[-1] == "cancelled"
    assert wait_for(second)[-1] == wait_for(third)[-1] == "result"
    assert next(data for name, data in third.events if name == "queued") == '{"position":2}'


def test_a_waiting_job_is_cancelled_at_once(jobs):
    first = occupy(jobs)
    second, _ = jobs.submit(lambda job: {})
    jobs.cancel(second)
    assert second.ended and second.events[-1][0] == "cancelled" and not first.ended


def test_an_error_ends_the_job_and_not_the_worker(jobs):
    def fail(error):
        def run(job):
            raise error

        return run

    for error, words in (
        (ValueError("one\nsentence"), "one sentence"),
        (RuntimeError("out of memory"), "RuntimeError: out of memory"),
        (RecursionError(), "RecursionError"),
        (MemoryError(), "MemoryError"),
    ):
        job, _ = jobs.submit(fail(error))
        assert wait_for(job)[-1] == "error" and words in job.events[-1][1]
    assert wait_for(jobs.submit(lambda job: {})[0])[-1] == "result"


def test_numbers_that_are_none_end_in_an_error_and_not_in_broken_json(jobs):
    job, _ = jobs.submit(lambda job: {"value": float("nan")})
    assert wait_for(job)[-1] == "error"


def test_shutdown_ends_all_jobs_with_a_sentence(jobs):
    first = occupy(jobs)
    second, _ = jobs.submit(lambda job: {})
    assert jobs.close(patience=5)
    for job in (first, second):
        assert wait_for(job)[-1] == "error" and SHUTTING_DOWN in job.events[-1][1]
    with pytest.raises(Refused) as refused:
        jobs.submit(lambda job: {})
    assert refused.value.status == 503


def test_who_comes_late_reads_from_the_start(jobs):
    job = Job(lambda job: {"done": True})
    job.tell("token", text="a")
    run_job(job)

    async def read():
        return b"".join([part async for part in stream_events(jobs, job)])

    stream = asyncio.run(read()).decode()
    assert stream.index("event: token") < stream.index("event: result")
    assert stream.endswith('data: {"done":true}\n\n')


def test_a_job_whose_last_reader_leaves_is_cancelled(jobs):
    job = occupy(jobs)
    for reader in (print, repr):
        job.attach(reader)
    jobs.leave(job, print)
    time.sleep(0.05)
    assert not job.ended
    jobs.leave(job, repr)
    assert wait_for(job)[-1] == "cancelled"


def test_a_reader_who_leaves_gives_up_the_place_in_the_queue(jobs):
    occupy(jobs)
    waiting = [jobs.submit(lambda job: {})[0] for _ in range(2)]
    for job in waiting:
        job.attach(print)
        jobs.leave(job, print)
        assert job.ended and job.events[-1][0] == "cancelled"
    assert jobs.submit(lambda job: {})[1] == 1


def test_a_busy_model_is_said_over_http(embedded):
    with workbench(embedded, waiting=1) as client:
        occupied = occupy(client.jobs)
        waits = post(client, "/api/jobs", {"kind": "answer", "prompt": PROBLEM})
        assert waits.status_code == 202 and waits.json()["position"] == 1
        full = post(client, "/api/jobs", {"kind": "answer", "prompt": PROBLEM})
        assert full.status_code == 429 and "busy" in full.json()["error"]
        assert client.get("/api/info").status_code == 200  # the page still answers
        client.jobs.cancel(occupied)
        assert events(client, waits.json()["job"])[-1][0] == "result"


def test_a_job_is_cancelled_over_http_between_two_tokens(embedded):
    with workbench(embedded) as client:
        job = post(client, "/api/jobs", {"kind": "answer", "prompt": PROBLEM}).json()["job"]
        assert client.delete(f"/api/jobs/{job}").status_code == 200
        assert events(client, job)[-1][0] in ("cancelled", "result")
        assert client.delete("/api/jobs/unknown").status_code == 404
        # The model is as it was: its layers are not watched any more, its attention is its own.
        assert not any(layer._forward_pre_hooks for layer in embedded.model.model.layers)
        again = post(client, "/api/jobs", {"kind": "answer", "prompt": PROBLEM}).json()["job"]
        assert events(client, again)[-1][0] == "result"

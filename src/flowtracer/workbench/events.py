"""A job's events as a stream that a browser reads (server-sent events)."""

import asyncio
from collections.abc import AsyncIterator

from flowtracer.workbench.jobs import Job, Jobs

ALIVE = 15.0  # seconds between signs of life, our choice: below the patience of proxies


async def stream_events(jobs: Jobs, job: Job) -> AsyncIterator[bytes]:
    """All events from the first to the last; one who stops reading lets go of the job."""
    loop, news = asyncio.get_running_loop(), asyncio.Event()

    def notify() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(news.set)

    job.attach(notify)
    try:
        sent = 0
        while True:
            news.clear()
            ended = job.ended  # before the events are read: then the last one is among them
            events = job.events[sent:]
            sent += len(events)
            if events:
                yield b"".join(encode(name, data) for name, data in events)
            if ended:
                return
            try:
                await asyncio.wait_for(news.wait(), ALIVE)
            except TimeoutError:
                yield b": alive\n\n"
    finally:
        jobs.leave(job, notify)


def encode(name: str, data: str) -> bytes:
    """One event. JSON has no line break of its own."""
    return f"event: {name}\ndata: {data}\n\n".encode()

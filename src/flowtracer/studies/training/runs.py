"""Many runs of our own commands at the same time: resumable, and none ends another.

Each command is a process of its own, which resumes by itself; where one of them ended well, a file in
the run's folder says so and it is not started again.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from flowtracer.studies.training.child import run_command

TRIES = 2  # our choice: a run that failed is retried from its checkpoint once

Say = Callable[[str], None]


@dataclass(frozen=True)
class Command:
    """Words of `flowtracer WORDS` and the name of its log."""

    words: tuple[str, ...]
    log: str


@dataclass(frozen=True)
class Run:
    """Commands one after another, in a folder."""

    name: str
    folder: Path
    commands: tuple[Command, ...]

    @property
    def finished(self) -> bool:
        """Whether all of its commands ended well, now or earlier."""
        return all(self.done(command).exists() for command in self.commands)

    def done(self, command: Command) -> Path:
        """A file that is there once the command has ended well."""
        return self.folder / f".{command.log}.done"


def run_all(
    runs: Sequence[Run], *, jobs: int, devices: Sequence[str] = (), say: Say
) -> dict[str, str]:
    """Do what is missing; returns the reason by the name of each run that failed.

    jobs: runs at a time; the cores are shared between them. devices: the GPUs, as CUDA_VISIBLE_DEVICES
    names them, that the runs take turns at; none leaves the environment as it is.
    """
    missing = [run for run in runs if not run.finished]
    threads = max(1, (os.cpu_count() or 1) // min(jobs, max(1, len(missing))))
    failed: dict[str, str] = {}
    began = time.monotonic()
    if len(missing) < len(runs):
        say(f"{len(runs) - len(missing)} of {len(runs)} runs are there")
    with ThreadPoolExecutor(jobs) as pool:
        started = {
            pool.submit(_run, run, threads, _environment(devices, number)): run
            for number, run in enumerate(missing)
        }
        try:
            for done, future in enumerate(as_completed(started), start=1):
                run, reason = started[future], future.result()
                if reason:
                    failed[run.name] = reason
                left = (time.monotonic() - began) / done * (len(missing) - done) / 60
                state = f"failed: {reason}" if reason else "done"
                say(f"[{done}/{len(missing)}] {run.name}: {state} (about {left:.0f} minutes left)")
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def visible_devices(device: str) -> list[str]:
    """The GPUs that "cuda" or "cuda:N" means, as CUDA_VISIBLE_DEVICES names them; none for others.

    Raises ValueError for a GPU that is not there.
    """
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return []
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    every = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
    chosen = every if not number else [name for i, name in enumerate(every) if str(i) == number]
    if not torch.cuda.is_available() or not chosen:
        raise ValueError(f"device {device} is not there; use cpu, or another GPU")
    return chosen


def _environment(devices: Sequence[str], number: int) -> dict[str, str]:
    # One GPU a run: TRL would otherwise split a small batch over all of them.
    return {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]} if devices else {}


def _run(run: Run, threads: int, environment: dict[str, str]) -> str | None:
    """Its commands in order; why it ended badly, or None."""
    for command in run.commands:
        if run.done(command).exists():
            continue
        run.folder.mkdir(parents=True, exist_ok=True)
        log = run.folder / command.log
        for _ in range(TRIES):
            status = run_command(command.words, log, threads=threads, environment=environment)
            if not status:
                break
        else:
            text = log.read_text(errors="replace")
            last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
            return (
                f"`flowtracer {command.words[0]}` ended with status {status}: {last[-300:]} ({log})"
            )
        run.done(command).touch()
    return None

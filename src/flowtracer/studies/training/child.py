"""A command of ours in a process of its own, which ends when the process that started it does.

However that ends: nothing is left running that would hold the lock of its folder. The child has the
reading end of a pipe whose writing end only its parent has; the system closes that with the parent.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_command(
    words: Sequence[str], log: Path, *, threads: int, environment: Mapping[str, str] | None = None
) -> int:
    """Run `flowtracer WORDS`, its output appended to a log; returns its exit status."""
    reader, writer = os.pipe()
    try:
        with log.open("a") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(reader), *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": str(threads)} | dict(environment or {}),
                pass_fds=(reader,),
                start_new_session=True,  # a process group of its own, to be ended as a whole
            )
        return process.wait()
    finally:
        os.close(reader)
        os.close(writer)


def _end_with_parent(reader: int) -> None:
    os.read(reader, 1)  # returns when nobody has the writing end any more
    os.killpg(os.getpgrp(), signal.SIGKILL)  # with the processes that this one started


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, args=(int(sys.argv.pop(1)),), daemon=True).start()
    runpy.run_module("flowtracer", run_name="__main__", alter_sys=True)

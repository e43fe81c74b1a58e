"""`flowtracer ...` inside the process of the tests, without the price of a new one."""

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from unittest import mock


def call(*arguments, cwd):
    """Run a command in a folder, offline; returns its status and what it printed."""
    from flowtracer.cli import main as cli

    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    status = 0
    with (
        chdir(cwd),
        mock.patch.object(sys, "argv", ["flowtracer", *map(str, arguments)]),
        mock.patch.dict(os.environ, {"HF_HUB_OFFLINE": "1"}),
        mock.patch("huggingface_hub.constants.HF_HUB_OFFLINE", True),  # read once, at import
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code
    texts = []
    for stream in (output, errors):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return subprocess.CompletedProcess(arguments, status, *texts)

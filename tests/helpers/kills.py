"""The command line in processes that are killed, without paying for its imports each time."""

import multiprocessing
import os
import sys
from pathlib import Path

PRELOADED = [
    "flowtracer.cli.main",
    "flowtracer.rollouts.score",
    "flowtracer.training.run",
    "trl.trainer.grpo_trainer",
]


def start(folder: Path, *words: str) -> multiprocessing.process.BaseProcess:
    """`flowtracer WORDS` in a folder, as a process that may be killed; output goes to `printed`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_main, args=(folder, words))
    process.start()
    return process


def _main(folder: Path, words: tuple[str, ...]) -> None:
    os.chdir(folder)
    printed = os.open("printed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.argv = ["flowtracer", *words]
    from flowtracer.cli.main import main

    main()

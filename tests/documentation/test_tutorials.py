"""Every command of the tutorials and how-tos is run as it is written, in order, in an empty folder.

A block of bash or Python below a comment `<!-- not run: why -->` is left out.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("docs/tutorials/*.md"), *ROOT.glob("docs/how-to/*.md")])
BLOCK = re.compile(r"(<!-- not run: .+? -->\n+)?```(bash|python)\n(.*?)```", re.DOTALL)


def blocks_of(page):
    """(language, text) of the blocks of a page that are to be run."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, text) for left_out, language, text in blocks if not left_out]


RUN = [page for page in PAGES if blocks_of(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_commands_run_as_they_are_written(page, tmp_path):
    for package in ("trl", "pyarrow"):
        pytest.importorskip(package, reason="needs flowtracer[train,score]")
    for name in ("configs", "examples"):  # the tutorials are about a clone
        shutil.copytree(ROOT / name, tmp_path / name)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for language, text in blocks_of(page):
        command = (
            ["bash", "-euo", "pipefail", "-c", text]
            if language == "bash"
            else [sys.executable, "-c", text]
        )
        ended = subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 0, text + ended.stdout[-2000:] + ended.stderr[-3000:]

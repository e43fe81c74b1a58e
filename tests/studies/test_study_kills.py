"""SIGKILL at random moments of `flowtracer study`: the rows are those of an undisturbed run."""

import json
import random
import time

import pytest

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from helpers.kills import start

KILLS = 20
WORDS = (
    "study",
    "causal",
    "--problems",
    "34",
    "--batch",
    "4",
    "--max-new-tokens",
    "96",
    "--out",
    "out",
)


def wait_for_settings(folder, process):
    """Until the study has begun: its imports are over."""
    deadline = time.monotonic() + 120
    while not (folder / "out" / "study.json").exists() and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finish(folder):
    """Run to the end; seconds from the beginning of the study."""
    process = start(folder, *WORDS)
    wait_for_settings(folder, process)
    begun = time.monotonic()
    process.join(300)
    assert process.exitcode == 0, (folder / "printed").read_text()[-2000:]
    return time.monotonic() - begun


def results(folder):
    """Rows and solutions as they are in the files; each problem must be there once."""
    files = [folder / "out" / "rows.jsonl", folder / "out" / "solutions" / "solutions.jsonl"]
    by_file = []
    for path in files:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        by_file.append({row["problem"]: row for row in rows})
        assert len(by_file[-1]) == len(rows)
    return by_file, (folder / "out" / "figures.json").read_text()


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path, bar):
    def new_folder(name):
        folder = tmp_path / name
        folder.mkdir()
        return folder

    undisturbed = new_folder("undisturbed")
    seconds = finish(undisturbed)
    expected = results(undisturbed)
    draw = random.Random(0)
    kills = runs = 0
    while kills < KILLS:
        runs += 1
        folder = new_folder(f"run-{runs}")
        for _ in range(5):
            process = start(folder, *WORDS)
            wait_for_settings(folder, process)
            process.join(draw.uniform(0, seconds / 2))
            if process.is_alive():
                process.kill()
                kills += 1
            process.join()
        finish(folder)
        assert results(folder) == expected
        assert "Traceback" not in (folder / "printed").read_text()
        assert not list((folder / "out").rglob("*.partial"))
    bar("kills of study", kills, f"same rows, solutions and figures in {runs} runs")


@pytest.mark.slow
def test_of_two_at_once_one_is_refused(tmp_path):
    first = start(tmp_path, *WORDS)
    wait_for_settings(tmp_path, first)
    second = start(tmp_path, *WORDS)
    second.join(120)
    first.join(300)
    printed = (tmp_path / "printed").read_text()
    assert (first.exitcode, second.exitcode) == (0, 1)
    assert "flowtracer: out is in use by another study; choose another --out" in printed
    assert "Traceback" not in printed
    results(tmp_path)

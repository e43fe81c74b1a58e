"""SIGKILL at random moments of `flowtracer train`: what comes out is what an undisturbed run gives."""

import random
import time

import pytest
from helpers.kills import start
from helpers.settings import CONFIG
from safetensors.torch import load_file

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from flowtracer.training.metrics import read_metrics

KILLS = 20
WORDS = ("train", "c.yaml", "--output_dir", "out")


def results(folder):
    """Parameters and the rewards and losses of every step."""
    weights = load_file(folder / "out" / "model.safetensors")
    rows = [row for row in read_metrics(folder / "out" / "metrics.jsonl") if "reward" in row]
    return weights, [(row["step"], row["reward"], row["loss"]) for row in rows]


def finish(folder):
    """Run to the end; seconds from the settings' being written."""
    process = start(folder, *WORDS)
    begun = wait_for_settings(folder, process)
    process.join(300)
    assert process.exitcode == 0, (folder / "printed").read_text()[-2000:]
    return time.monotonic() - begun


def wait_for_settings(folder, process):
    """When the run has begun: its imports are over."""
    deadline = time.monotonic() + 120
    while not (folder / "out" / "run.json").exists() and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return time.monotonic()


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path, bar):
    def new_folder(name):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "c.yaml").write_text(CONFIG)
        return folder

    undisturbed = new_folder("undisturbed")
    seconds = finish(undisturbed)
    weights, steps = results(undisturbed)
    draw = random.Random(0)
    kills = runs = 0
    while kills < KILLS:
        runs += 1
        folder = new_folder(f"run-{runs}")
        for attempt in range(4):
            process = start(folder, *WORDS)
            begun = wait_for_settings(folder, process)
            process.join(draw.uniform(0, seconds))
            if not process.is_alive():
                if attempt == 0:  # the machine has become faster
                    seconds = time.monotonic() - begun
                break
            process.kill()
            process.join()
            kills += 1
        finish(folder)
        again, again_steps = results(folder)
        assert again_steps == steps
        assert all(bool((again[name] == value).all()) for name, value in weights.items())
        assert "Traceback" not in (folder / "printed").read_text()
        assert not list((folder / "out").rglob("*.partial"))
    bar("kills of train", kills, f"same parameters and metrics in {runs} runs")

"""`flowtracer train` end to end: kill, resume, metrics, checkpoints that plain transformers reads."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.settings import CONFIG as SHORT
from safetensors.torch import load_file

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from flowtracer.training.arguments import read_settings
from flowtracer.training.curves import running_mean, training_curves
from flowtracer.training.metrics import read_metrics
from flowtracer.training.run import train
from flowtracer.watching.parts import logged_steps, part_path, read_part

CONFIG = SHORT + "rollouts_every: 2\n"


def start(folder, *options):
    (folder / "c.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "flowtracer", "train", "c.yaml", *options]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def run(folder, *options):
    process = start(folder, *options)
    output, errors = process.communicate(timeout=240)
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    status, output, errors = run(folder, "--output_dir", "out")
    assert status == 0, errors
    return folder / "out", output


def test_a_run_leaves_a_model_metrics_and_curves(whole):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out, printed = whole
    assert "metrics.jsonl" in printed
    rows = [row for row in read_metrics(out / "metrics.jsonl") if "reward" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert {"credit/selected", "credit/no_answer", "credit/mean_weight"} <= rows[0].keys()
    assert {"credit/concentration", "credit/seconds", "credit/ratio_of_step"} <= rows[-1].keys()
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.model_type == "qwen3"
    assert AutoTokenizer.from_pretrained(out).chat_template
    AutoModelForCausalLM.from_pretrained(out / "checkpoint-6")
    assert logged_steps(out) == [1, 3, 5] and "rollouts.html" in {
        file.name for file in out.iterdir()
    }


def test_a_killed_run_resumes_to_the_same_parameters(whole, tmp_path):
    process = start(tmp_path, "--output_dir", "out")
    metrics, deadline = tmp_path / "out" / "metrics.jsonl", time.monotonic() + 200
    while time.monotonic() < deadline:  # step 3 is behind the first checkpoint and before the next
        if metrics.exists() and any(row["step"] >= 3 for row in read_metrics(metrics)):
            break
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "model.safetensors").exists()
    newest = sorted((tmp_path / "out").glob("checkpoint-*"))[-1]
    torn = newest.parent / "checkpoint-99"  # as if the kill had come while it was written
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    status, _, errors = run(tmp_path, "--output_dir", "out")
    assert status == 0, errors
    expected = load_file(whole[0] / "model.safetensors")
    resumed = load_file(tmp_path / "out" / "model.safetensors")
    assert all((resumed[name] == weight).all() for name, weight in expected.items())
    rows = [row for row in read_metrics(metrics) if "reward" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for mine, theirs in zip(
        rows,
        [row for row in read_metrics(whole[0] / "metrics.jsonl") if "reward" in row],
        strict=True,
    ):
        assert mine["reward"] == theirs["reward"] and mine["loss"] == theirs["loss"]
    assert logged_steps(tmp_path / "out") == [1, 3, 5]  # none twice, none lost
    for step in (1, 3, 5):
        assert read_part(part_path(tmp_path / "out", step)) == read_part(part_path(whole[0], step))


def test_a_folder_keeps_to_its_settings(whole):
    status, _, errors = run(whole[0].parent, "--output_dir", "out", "--emphasis", "2")
    assert (
        status == 1
        and "holds a run with other settings (credit.emphasis was 1.5, is 2.0)" in errors
    )
    assert len(errors.strip().splitlines()[-1]) < 400 and "Traceback" not in errors
    before = (whole[0] / "model.safetensors").read_bytes()
    status, _, errors = run(whole[0].parent, "--output_dir", "out")  # finished: nothing to do
    assert status == 0, errors
    assert (whole[0] / "model.safetensors").read_bytes() == before


def again(folder, *options, **more):
    """The run of `whole` once more, in this process: what is finished or damaged trains nothing."""
    (folder.parent / "c.yaml").write_text(CONFIG)
    return train(
        read_settings(folder.parent / "c.yaml", ["--output_dir", str(folder), *options]), **more
    )


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of the undisturbed run."""
    return Path(shutil.copytree(whole[0], tmp_path / "out"))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_file_of_the_model_is_made_again(finished, whole, name):
    path = finished / name
    path.write_bytes(path.read_bytes()[:1000])
    again(finished)
    assert path.read_bytes() == (whole[0] / name).read_bytes()
    path.unlink()
    again(finished)
    assert path.read_bytes() == (whole[0] / name).read_bytes()


def test_a_complete_model_needs_no_checkpoint_and_nothing_stays_behind(finished):
    (finished / ".model").mkdir()  # of a save that was killed
    for path in finished.glob("checkpoint-*"):
        shutil.rmtree(path)
    before = (finished / "model.safetensors").stat().st_mtime_ns
    again(finished)
    assert (finished / "model.safetensors").stat().st_mtime_ns == before
    assert not (finished / ".model").exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "trainer_state.json"])
def test_a_damaged_checkpoint_is_named_before_anything_is_loaded(finished, name):
    (finished / "model.safetensors").unlink()
    for change in ("{}", None):
        path = finished / "checkpoint-6" / name
        path.unlink() if change is None else path.write_text(change)
        with pytest.raises(ValueError, match=f"{path} is damaged or missing; delete") as raised:
            again(finished)
        assert "weights_only" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\x00"])
def test_damaged_settings_and_metrics_are_named(finished, content):
    (finished / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json"):
        again(finished)
    (finished / "run.json").unlink()
    with pytest.raises(ValueError, match=r"holds checkpoints or a model but no run\.json"):
        again(finished)


def test_settings_that_say_nothing_are_other_settings(finished):
    (finished / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="holds a run with other settings"):
        again(finished)


def test_damaged_metrics_are_named(finished):
    (finished / "metrics.jsonl").write_bytes(b"\xff\x00\n{}\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl"):
        again(finished)


def test_restart_leaves_nothing_of_the_earlier_run(whole, finished):
    """Killed after its first step, the folder holds no model and no checkpoint of the old settings."""
    process = start(finished.parent, "--output_dir", "out", "--restart", "--learning_rate", "3e-4")
    metrics, deadline = finished / "metrics.jsonl", time.monotonic() + 200
    while time.monotonic() < deadline:
        if len(read_metrics(metrics)) in (1, 2):
            break
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(finished.glob("*.safetensors")) and not (finished / "manifest.json").exists()
    assert not (finished / "checkpoint-6").exists()
    assert json.loads((finished / "run.json").read_text())["trainer"]["learning_rate"] == 3e-4
    with pytest.raises(ValueError, match=r"learning_rate was 0\.0003"):
        again(finished)


def test_two_runs_in_one_folder_are_refused(tmp_path):
    from filelock import FileLock

    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"):
        status, _, errors = run(tmp_path, "--output_dir", "out")
    assert status == 1 and "is in use by another run" in errors


def test_metrics_survive_a_cut_line(tmp_path):
    path = Path(tmp_path / "m.jsonl")
    path.write_text(json.dumps({"step": 1, "reward": 0.5}) + '\n{"step": 2, "rew')
    assert read_metrics(path) == [{"step": 1, "reward": 0.5}]


def test_curves_draw_what_there_is():
    assert running_mean([1.0, 3.0, 5.0], window=2) == [1.0, 2.0, 4.0]
    rows = [{"step": step, "reward": step / 10} for step in range(1, 20)]
    figure = training_curves({"grpo": rows, "flow": rows})
    lines = [line for line in figure.axes[0].lines if line.get_label() != "_leader"]
    assert len(figure.axes) == 1 and len(lines) == 4
    with pytest.raises(ValueError, match="nothing to draw"):
        training_curves({"grpo": [{"step": 1, "loss": 0.0}]})

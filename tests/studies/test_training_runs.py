"""A training study and its child processes: whose settings they have, and when they end."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from filelock import FileLock, Timeout
from helpers.settings import CONFIG

from flowtracer.storage import check_settings
from flowtracer.studies.training.study import TrainingStudy, run_training, table_run
from flowtracer.studies.training.variants import variants

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
STUDY = [sys.executable, "-m", "flowtracer", "study", "training", "c.yaml", "--method", "grpo",
         "--seed", "0", "--test-problems", "20", "--out", "study"]  # fmt: skip


def run(folder):
    return subprocess.run(STUDY, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)


def is_locked(path):
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_another_setting_of_the_config_is_another_study(tmp_path):
    settings = {"learning_rate": 0.001, "max_steps": 6}
    study = TrainingStudy("c.yaml", tuple(variants(["grpo"], [])), (0,), settings=settings)
    check_settings(tmp_path / "study.json", asdict(study), what="a study")
    for changed, message in [
        ({"learning_rate": 0.0001, "max_steps": 6}, r"settings.learning_rate was 0.001, is 0.0001"),
        ({"learning_rate": 0.001}, r"settings.max_steps was 6, is None"),
    ]:
        with pytest.raises(ValueError, match=message):
            run_training(replace(study, settings=changed), tmp_path, jobs=1, say=print)


def test_two_studies_in_one_folder_are_refused(tmp_path):
    study = TrainingStudy("c.yaml", tuple(variants(["grpo"], [])), (0,))
    with FileLock(tmp_path / ".lock"), pytest.raises(ValueError, match="in use by another study"):
        run_training(study, tmp_path, jobs=1, say=print)


def test_a_finished_study_of_another_machine_needs_no_gpu_to_be_read(tmp_path):
    study = TrainingStudy("c.yaml", tuple(variants(["grpo"], [])), (0,), device="cuda:99")
    with pytest.raises(ValueError, match="device cuda:99 is not there"):
        run_training(study, tmp_path, jobs=1, say=print)
    run = table_run(study, tmp_path, study.variants[0], 0)
    for folder in (tmp_path / "start", run.folder):
        (folder / "eval").mkdir(parents=True)
        (folder / "eval" / "eval.json").write_text('{"problems": 1, "samples": 1}')
        row = {"problem": 0, "sample": 0, "reward": 1.0}
        (folder / "eval" / "completions.jsonl").write_text(json.dumps(row) + "\n")
        (folder / "metrics.jsonl").write_text('{"step": 1, "reward": 0.5}\n')
        for command in run.commands:
            (folder / f".{command.log}.done").touch()
    results = run_training(study, tmp_path, jobs=1, say=print)
    assert results.start == results.variants[0].rewards[0] == 1


@pytest.mark.slow
def test_a_config_that_was_edited_is_refused(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG.replace("embedded", "./nowhere"))
    assert run(tmp_path).returncode == 1  # no model: the study is begun, no run is made
    config.write_text(config.read_text().replace("1.0e-3", "1.0e-4"))
    edited = run(tmp_path)
    assert edited.returncode == 1 and "Traceback" not in edited.stderr
    assert "other settings (settings.learning_rate was 0.001, is 0.0001)" in edited.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_child_outlives_a_study(tmp_path, how):
    (tmp_path / "c.yaml").write_text(CONFIG)
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    study = subprocess.Popen(STUDY, cwd=tmp_path, env=ENVIRONMENT, start_new_session=True, **output)
    lock = tmp_path / "study" / "start" / "eval" / ".lock"
    try:
        assert wait_until(lambda: lock.exists() and is_locked(lock), 120)
        study.send_signal(how)
        study.wait(timeout=30)
    finally:
        study.kill()
    assert wait_until(lambda: not is_locked(lock), 10)

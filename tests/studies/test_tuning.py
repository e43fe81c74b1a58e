"""Learning rates on seeds of their own, and runs that do not end each other."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from helpers.settings import CONFIG

from flowtracer.studies.training.report import rate_lines
from flowtracer.studies.training.runs import Command, Run, run_all
from flowtracer.studies.training.study import TrainingStudy, run_training
from flowtracer.studies.training.tuning import Choice, choose_rate, parse_rates, parse_seeds
from flowtracer.studies.training.variants import variants


def test_the_rate_with_the_highest_mean_is_chosen():
    choice = choose_rate({1e-4: [0.60, 0.62], 2e-4: [0.70, 0.55], 4e-4: [0.5, 0.9]})
    assert choice.rate == 4e-4 and choice.at_edge
    assert not choose_rate({1e-4: [0.6], 2e-4: [0.7], 4e-4: [0.5]}).at_edge


def test_the_lowest_of_equal_rates_is_chosen():
    assert choose_rate({4e-4: [0.6, 0.7], 2e-4: [0.7, 0.6], 1e-4: [0.1, 0.1]}).rate == 2e-4


def test_a_rate_with_a_missing_run_is_not_chosen():
    choice = choose_rate({1e-4: [0.6, 0.6], 2e-4: [0.9, None]})
    assert choice.rate == 1e-4
    lines = "\n".join(rate_lines({"flow": choice}, (100, 101), 60))
    assert "| flow | 0.600 | a run failed | 0.0001 |" in lines
    with pytest.raises(ValueError, match="no learning rate has all"):
        choose_rate({1e-4: [None, 0.6]})


def test_rates_and_seeds_are_lists_of_different_numbers():
    assert parse_rates("1e-4/2e-4") == (1e-4, 2e-4) and parse_seeds("100/101") == (100, 101)
    for text in ("", "fast", "1e-4/1e-4", "-1", "nan", "1e-4,2e-4"):
        with pytest.raises(ValueError, match="learning-rates"):
            parse_rates(text)
    for text in ("", "-1", "1/1", "1.5"):
        with pytest.raises(ValueError, match="tuning-seeds"):
            parse_seeds(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuning_seeds": (0, 100)}, "seed 0 is a tuning seed"),
        ({"tuning_seeds": ()}, "give both or neither"),
        ({"overrides": ("--learning_rate", "1")}, "set and to be chosen"),
    ],
)
def test_rates_are_not_chosen_on_seeds_of_the_table(changes, message):
    study = TrainingStudy(
        "c.yaml", tuple(variants(["grpo"], [])), (0,), learning_rates=(1e-4,), tuning_seeds=(100,)
    )
    with pytest.raises(ValueError, match=message):
        replace(study, **changes)


def test_a_run_that_fails_does_not_end_the_others(tmp_path):
    said = []
    runs = [
        Run("bad", tmp_path / "bad", (Command(("no-such-command",), "a.log"),)),
        Run("good", tmp_path / "good", (Command(("--version",), "a.log"),)),
    ]
    failed = run_all(runs, jobs=2, say=said.append)
    assert set(failed) == {"bad"} and "no-such-command" in failed["bad"]
    assert runs[1].finished and not runs[0].finished
    assert any("bad: failed" in line for line in said)
    log = runs[1].folder / "a.log"
    before = log.read_text()
    run_all(runs, jobs=2, say=said.append)
    assert log.read_text() == before  # what is finished is not run again


@pytest.mark.slow
def test_a_study_without_its_first_method_says_why(tmp_path):
    study = TrainingStudy("c.yaml", tuple(variants(["grpo"], [])), (0,), start_model="./nowhere")
    with pytest.raises(ValueError, match=r"the model at its start: `flowtracer eval` ended with"):
        run_training(study, tmp_path, jobs=1, say=lambda line: None)


@pytest.mark.slow
def test_a_study_from_a_file_chooses_rates_and_keeps_them(tmp_path):
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "s.yaml").write_text(
        "runs: c.yaml\nmethod: [uniform, 'flow@end=bottom,emphasis=3']\nseed: [0, 1]\nset: max_steps=2\n"
        "learning_rates: 1e-4/1e-3\ntuning_seeds: '100'\ntest_problems: 20\nearly_steps: 2\nout: study\n"
        "jobs: 2\n"
    )
    words = [sys.executable, "-m", "flowtracer", "study", "training", "--config", "s.yaml"]

    def run():
        return subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )  # fmt: skip

    first = run()
    assert first.returncode == 0, first.stderr
    name = "flow-end=bottom-emphasis=3"
    figures = json.loads((tmp_path / "study" / "figures.json").read_text())
    chosen = figures["learning_rates"][name]
    assert set(chosen["tried"]) == {"0.0001", "0.001"} and chosen["rate"] in (1e-4, 1e-3)
    settings = json.loads((tmp_path / "study" / name / "seed-0" / "run.json").read_text())
    assert settings["trainer"]["learning_rate"] == chosen["rate"]
    assert settings["trainer"]["max_steps"] == 2
    assert Choice(chosen["rate"], chosen["tried"])
    times = {path: path.stat().st_mtime for path in tmp_path.rglob("model.safetensors")}
    assert len(times) >= 2 * 2 + 2 * 2
    assert run().returncode == 0
    assert times == {path: path.stat().st_mtime for path in times}

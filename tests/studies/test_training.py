"""The matrix of a training study, its report, and a small study end to end."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from helpers.settings import CONFIG

from flowtracer.studies.training.learning import (
    early_reward,
    mean_rows,
    over_seeds,
    steps_to_reach,
)
from flowtracer.studies.training.pictures import difference_curves, paired_differences
from flowtracer.studies.training.report import write_report
from flowtracer.studies.training.study import TrainingResults, TrainingStudy, VariantResult
from flowtracer.studies.training.variants import Variant, variants


def test_every_method_meets_every_setting_and_grpo_runs_once():
    grid = variants(["grpo", "flow"], ["emphasis=1.2,1.5", "ratio=0.2,0.4"])
    assert [variant.name for variant in grid] == [
        "grpo",
        "flow-emphasis=1.2-ratio=0.2",
        "flow-emphasis=1.2-ratio=0.4",
        "flow-emphasis=1.5-ratio=0.2",
        "flow-emphasis=1.5-ratio=0.4",
    ]
    assert grid[1].overrides == [
        "--method", "flow", "--emphasis", "1.2", "--ratio", "0.2",
    ]  # fmt: skip


@pytest.mark.parametrize("methods", [[], ["flow", "flow"]])
def test_methods_are_named_once(methods):
    with pytest.raises(ValueError, match="at least one method"):
        variants(methods, [])


@pytest.mark.parametrize("vary", ["emphasis", "=1", "emphasis=,"])
def test_what_varies_has_values(vary):
    with pytest.raises(ValueError, match="KEY=VALUE"):
        variants(["flow"], [vary])


def test_curves_average_the_steps_that_all_seeds_have():
    runs = [
        [{"step": 1, "reward": 0.2}, {"step": 2, "reward": 0.4}, {"step": 2, "train_loss": 1.0}],
        [{"step": 1, "reward": 0.4}],
    ]
    assert mean_rows(runs) == [{"step": 1, "reward": pytest.approx(0.3)}]


def test_the_report_shows_the_rules_that_calibrated_credit_used(tmp_path):
    rows = tuple({"step": step, "reward": 0.5, "step_time": 3.0} for step in range(1, 12))
    measured = {
        "calibrated/share/uniform": 0.0,
        "calibrated/share/flow": 1.0,
        "calibrated/alignment/flow": 0.1,
    }
    calibrated = tuple(row | measured for row in rows)
    results = (
        VariantResult("uniform", (np.ones((20, 1)),) * 2, (rows, rows)),
        VariantResult("calibrated-every=8", (np.ones((20, 1)),) * 2, (calibrated, calibrated)),
    )
    methods = variants(["uniform", "calibrated@every=8"], [])
    study = TrainingStudy("c.yaml", methods, (0, 1), start_model="m", task="t")
    text = write_report(study, TrainingResults(np.ones((20, 1)), results), tmp_path).read_text()
    assert "](rules-calibrated-every=8.png)" in text and "rules-uniform" not in text
    assert (tmp_path / "rules-calibrated-every=8.png").stat().st_size > 5000


def test_the_report_pairs_methods_by_seed_and_problem(tmp_path):
    generator = np.random.default_rng(0)
    start = (generator.random((200, 2)) < 0.4).astype(float)
    plain = [(generator.random((200, 2)) < 0.6).astype(float) for _ in range(2)]
    rows = tuple({"step": step, "reward": 0.5, "step_time": 3.0} for step in range(1, 12))
    results = (
        VariantResult("grpo", tuple(plain), (rows, rows)),
        VariantResult(
            "flow", tuple(np.clip(outcomes + 0.1, 0, 1) for outcomes in plain), (rows, rows)
        ),
    )
    study = TrainingStudy(
        "c.yaml", variants(["grpo", "flow"], []), (0, 1), start_model="m", task="t"
    )
    table = write_report(study, TrainingResults(start, results), tmp_path)
    text = table.read_text()
    figures = json.loads((tmp_path / "figures.json").read_text())["results"]
    difference = figures["flow"]["over_grpo"]
    assert 0 < difference["low"] < difference["value"] < difference["high"] < 0.1
    assert f"{100 * figures['grpo']['accuracy']['value']:.1f}%" in text
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_the_primary_measure_is_the_reward_while_it_learns(tmp_path):
    def run(rise):
        return tuple(
            {"step": step, "reward": min(0.9, 0.4 + rise * step), "step_time": 3.0}
            for step in range(1, 41)
        )

    start = np.zeros((20, 1))
    results = (
        VariantResult("grpo", (start, start), (run(0.01), run(0.012))),
        VariantResult("flow", (start, start), (run(0.02), run(0.021))),
    )
    settings = {"start_model": "m", "task": "t", "early_steps": 20, "reach": 0.75}
    study = TrainingStudy("c.yaml", variants(["grpo", "flow"], []), (0, 1), **settings)
    text = write_report(study, TrainingResults(start, results), tmp_path).read_text()
    figures = json.loads((tmp_path / "figures.json").read_text())["results"]
    assert figures["grpo"]["early_reward_each_seed"] == pytest.approx([0.505, 0.526])
    difference = figures["flow"]["early_reward_over_grpo"]
    assert difference["value"] == pytest.approx(0.09975) and difference["low"] > 0.03
    assert figures["flow"]["steps_to_reach_each_seed"] == [22, 22]
    assert "Better than grpo: flow (p = 0.033)" in text and "Worse than grpo: none." in text
    assert (tmp_path / "differences.png").stat().st_size > 5000 and "(differences.png)" in text
    assert "| flow | 0.615 [" in text and "22, 22" in text and "40, 34" in text


def rewards(values, first=1):
    return [{"step": step, "reward": value} for step, value in enumerate(values, first)]


def test_differences_are_paired_by_seed_step_by_step():
    base = [rewards([0.1, 0.2, 0.3]), rewards([0.5, 0.6, 0.7])]
    runs = [rewards([0.2, 0.3, 0.4]), rewards([0.6, 0.7, 0.8, 0.9])]
    steps, intervals = paired_differences(runs, base)
    assert steps == [1, 2, 3]
    for interval in intervals:  # both seeds are 0.1 ahead, however far they are apart
        assert (interval.low, interval.value, interval.high) == pytest.approx((0.1, 0.1, 0.1))
    gap = [rewards([0.3, 0.4, 0.5]), rewards([0.6, 0.7, 0.8])]
    assert [each.value for each in paired_differences(gap, base)[1]] == pytest.approx([0.15] * 3)
    assert paired_differences(gap, base)[1][0].low < 0.1


def test_each_method_but_the_first_has_a_panel():
    runs = {name: [rewards([0.1, 0.2]), rewards([0.2, 0.4])] for name in ("grpo", "a", "b_1", "c$")}
    overall = dict.fromkeys(("a", "b_1", "c$"), over_seeds([0.0, 0.1]))
    titles = [axes.get_title(loc="left") for axes in difference_curves(runs, overall).axes]
    assert [title.split("\n")[0] for title in titles] == ["a", "b_1", "c$"]
    assert difference_curves({"grpo": runs["grpo"]}, {}) is None
    single = {name: seeds[:1] for name, seeds in runs.items()}
    assert difference_curves(single, {}) is None


def test_steps_to_reach_wait_for_a_whole_window():
    rows = [{"step": step, "reward": 1.0 if step > 3 else 0.0} for step in range(1, 11)]
    assert steps_to_reach(rows, 0.0, window=4) == 4
    assert steps_to_reach(rows, 1.0, window=4) == 7
    assert steps_to_reach(rows, 1.5, window=4) is None
    with pytest.raises(ValueError, match="no reward of the first 2 steps"):
        early_reward([{"step": 3, "reward": 1.0}], 2)


def test_an_interval_over_seeds_is_students():
    values = [0.61, 0.64, 0.6, 0.67]
    half = (
        3.182446 * np.std(values, ddof=1) / 2
    )  # t of 3 degrees of freedom, out of a printed table
    interval = over_seeds(values)
    expected = (np.mean(values) - half, np.mean(values) + half)
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-5)
    assert over_seeds([0.5]) is None


@pytest.mark.slow
def test_a_small_study_runs_and_is_not_run_twice(tmp_path):
    (tmp_path / "c.yaml").write_text(CONFIG.replace("max_steps: 6", "max_steps: 2"))
    words = ["study", "training", "c.yaml", "--method", "grpo", "--method", "flow", "--seed", "0"]
    command = [
        sys.executable,
        "-m",
        "flowtracer",
        *words,
        "--test-problems",
        "20",
        "--out",
        "study",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(*options):
        return subprocess.run(
            [*command, *options], cwd=tmp_path, capture_output=True, text=True, env=environment
        )

    first = run()
    assert first.returncode == 0, first.stderr
    assert (
        re.search(r"^flow ", first.stdout, re.MULTILINE)
        and (tmp_path / "study" / "curves.png").exists()
    )
    times = {path: path.stat().st_mtime for path in tmp_path.rglob("model.safetensors")}
    assert len(times) >= 2
    again = run()
    assert (
        again.returncode == 0
        and again.stdout.split("Held-out")[1] == first.stdout.split("Held-out")[1]
    )
    assert times == {path: path.stat().st_mtime for path in times}
    other = run("--test-problems", "30")
    assert (
        other.returncode == 1 and "holds a study with other settings (problems was" in other.stderr
    )


def test_uniform_is_plain_grpo_by_another_name():
    uniform, other = variants(["uniform", "flow@emphasis=2/3"], [])[:2]
    assert uniform.overrides == ["--method", "grpo"] and uniform.plain
    assert other.name == "flow-emphasis=2"
    for twice in (["uniform", "grpo"], ["flow@emphasis=2", "flow@emphasis=2/3"]):
        with pytest.raises(ValueError, match="named twice"):
            variants(twice, [])


def test_names_are_folders():
    assert Variant("flow").name == "flow"


def test_methods_that_are_no_rules_have_settings_of_their_own():
    plain, once, twice = variants(
        ["grpo", "value@continuations=4", "calibrated"], ["emphasis=1.2,2"]
    )
    assert once.overrides == ["--method", "value", "--value_continuations", "4"]
    assert twice.name == "calibrated" and plain.credit() is once.credit() is None
    names = [variant.name for variant in variants(["calibrated@choice=hard/mixed,every=2"], [])]
    assert names == ["calibrated-choice=hard-every=2", "calibrated-choice=mixed-every=2"]
    with pytest.raises(ValueError, match="is not KEY=VALUE"):
        variants(["value@continuations"], [])

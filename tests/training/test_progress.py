"""The line that a run prints for a step."""

import pytest

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from flowtracer.training.progress import step_line


def test_a_step_is_one_line_with_reward_and_credit():
    logs = {
        "loss": "-0.02841", "reward": "0.1875", "completions/mean_length": "43.44",
        "completions/clipped_ratio": "0.5625", "credit/selected": "0.4054", "credit/mean_weight": "1.203",
        "credit/no_answer": "0.25", "grad_norm": "0.1",
    }  # fmt: skip
    assert step_line(logs, step=7, total=100, seconds=5.31) == (
        "step   7/100  reward 0.188  43 tokens  56% cut off  loss -0.0284  credit: 41% chosen, "
        "mean weight 1.20, 25% without an answer  5.3 s"
    )


def test_what_was_not_logged_is_left_out():
    assert step_line({"loss": 0.5}, step=1, total=2, seconds=1) == "step 1/2  loss +0.5000  1.0 s"
    line = step_line({"loss": 0, "calibrated/share/uniform": 1.0}, step=1, total=2, seconds=1)
    assert "rules: uniform 100%" in line

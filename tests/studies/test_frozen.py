"""A frozen model that scores the rules' tokens as well."""

import json

import numpy as np
import pytest
import torch
from helpers.tiny_world import LIMIT, tiny_loaded, tiny_task

from flowtracer.credit import TokenCredit
from flowtracer.statistics.ranks import ranks
from flowtracer.studies.gradient.agreement import FIGURES, agreement
from flowtracer.studies.gradient.frozen import frozen_figures
from flowtracer.studies.gradient.report import write_checkpoints, write_report
from flowtracer.studies.gradient.study import GradientStudy, run_gradient
from flowtracer.studies.gradient.summary import read_gradients


def silent(stage, done, total):
    pass


def study_of(**settings):
    return GradientStudy(
        "tiny", "tiny", ("uniform", "flow", "position"), batches=4, problems=4, responses=6,
        max_new_tokens=LIMIT, parameters="all", **settings,
    )  # fmt: skip


def credit_of(scores, chosen):
    scores, chosen = torch.tensor([scores]), torch.tensor([chosen])
    yes = torch.ones(1, dtype=torch.bool)
    return TokenCredit(1 + 0.5 * chosen, scores, chosen, yes, yes)


def test_agreement_by_hand():
    left = credit_of([4.0, 3.0, 2.0, 1.0], [True, True, False, False])
    right = credit_of([4.0, 1.0, 3.0, 2.0], [True, False, True, False])
    figures = agreement(left, right, torch.ones(1, 4, dtype=torch.bool))
    assert figures["overlap"] == 0.5
    assert figures["weights"] == pytest.approx(0.0)
    assert figures["scores"] == pytest.approx(0.4)  # 1 - 6 (0 + 4 + 1 + 1) / (4 * 15)
    assert ranks(np.array([2.0, 1.0, 2.0])).tolist() == [1.5, 0.0, 1.5]


def test_a_rule_without_a_response_to_compare_is_left_out():
    rows = [{"frozen": {"delimiters": dict.fromkeys(FIGURES)}}, {}]
    assert frozen_figures(rows, [], seed=0) == []


def test_a_frozen_copy_of_the_policy_agrees_with_it(tmp_path):
    loaded, task = tiny_loaded(), tiny_task()
    study = study_of(frozen="tiny")
    rows = run_gradient(study, loaded, task, tmp_path, frozen=tiny_loaded(), progress=silent)
    used = [row["frozen"] for row in rows if "frozen" in row]
    assert used and all(set(by_rule) == {"flow", "position"} for by_rule in used)
    assert all(by_rule["flow"]["overlap"] == 1 for by_rule in used)
    assert study.names == ["uniform", "flow", "position", "flow (frozen)", "position (frozen)"]
    flow, again = (read_gradients(tmp_path, range(4), number) for number in (2, 4))
    torch.testing.assert_close(flow, again)
    table = write_report(study, rows, tmp_path, command="command")
    assert "Frozen: scored by tiny instead of the policy" in table.read_text()
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["frozen"][0]["alignment"]["value"] == pytest.approx(0, abs=1e-5)
    both = write_checkpoints({"a": figures, "b": figures}, tmp_path, command="command")
    assert "| b | `flow` | 100.0 [100.0, 100.0]" in both.read_text()
    assert (tmp_path / "frozen.png").exists()


def test_the_frozen_model_is_the_one_that_the_study_names(tmp_path):
    loaded, task = tiny_loaded(), tiny_task()
    with pytest.raises(ValueError, match="needs it loaded"):
        run_gradient(study_of(frozen="tiny"), loaded, task, tmp_path, progress=silent)

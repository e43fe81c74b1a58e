"""Answers worded in other ways: what the wordings are, and that nothing else differs."""

import random

import numpy as np
import pytest
import torch

pytest.importorskip("filelock", reason="needs the extra flowtracer[train]")

from flowtracer.studies.formats import FormatStudy, overlap, run_formats, wordings
from flowtracer.studies.solutions import SolutionSettings
from flowtracer.tasks import load_task


def test_the_explanation_is_a_complete_line():
    draw = random.Random(0)
    unfinished = wordings("18", "9 * 2 = 18\nSo $x = \\boxed{", [], draw)["explanation"].content
    assert unfinished == "18, because 9 * 2 = 18"
    assert "this follows" in wordings("18", "so $x = \\boxed{", [], draw)["explanation"].content


def test_the_multiple_choice_lists_the_answer_under_its_letter():
    written = wordings("18", "9 * 2 = 18\nso", ["7", "8"], random.Random(0))
    assert written["answer only"].content == "18"
    letter = written["multiple choice"].content
    assert f"{letter}. 18" in written["multiple choice"].options


def test_the_overlap_is_the_ratio_of_the_reference_that_is_chosen():
    reference = torch.tensor([True, True, False, False])
    assert overlap(torch.tensor([True, False, True, False]), reference) == 0.5
    assert overlap(reference, reference) == 1


def test_most_tokens_are_chosen_whatever_the_wording(embedded, tmp_path):
    study = FormatStudy(SolutionSettings("embedded", "countdown", max_new_tokens=128), problems=6)
    task = load_task("countdown")
    rows = run_formats(study, embedded, task, tmp_path, progress=lambda *a: None)
    names = {"full line", "explanation", "multiple choice"}
    assert len(rows) == 6 and set(rows[0]["overlap"]) == names
    # Chance is 0.4; the model inside the package has seen nothing but bare answers.
    assert np.mean([value for row in rows for value in row["overlap"].values()]) > 0.55

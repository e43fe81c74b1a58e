"""The shape of the flow: token by token, and hubs beside chance."""

import numpy as np
import pytest
import torch
from helpers.studies import shape_rows

from flowtracer.statistics.intervals import ratio_of_sums
from flowtracer.studies.shape.report import against_chance, token_ratios, write_report
from flowtracer.studies.shape.study import (
    ShapeStudy,
    coefficient_of_variation,
    flow_of_top,
    run_shape,
)
from flowtracer.studies.solutions import SolutionSettings
from flowtracer.tasks import load_task


def test_a_row_tells_of_every_token_in_front_of_the_answer(embedded, tmp_path):
    pytest.importorskip("filelock", reason="needs the extra flowtracer[train]")
    study = ShapeStudy(SolutionSettings("embedded", "countdown", max_new_tokens=128), problems=6)
    rows = run_shape(study, embedded, load_task("countdown"), tmp_path, progress=lambda *a: None)
    for row in rows:
        n = len(row["texts"])
        assert sum(row["high"]) == int(np.ceil(0.4 * n - 1e-9)) and len(row["structural"]) == n
        assert row["top_flow"] == sorted(row["top_flow"]) and row["top_flow"][-1] <= 1
        assert len(row["shuffled"]) == 20


def test_the_top_tokens_of_even_scores_have_their_ratio_of_the_flow():
    assert flow_of_top(torch.ones(100)) == pytest.approx([0.01, 0.05, 0.2, 0.4])


def test_regular_gaps_do_not_vary():
    assert coefficient_of_variation([4, 4, 4]) == 0 and coefficient_of_variation([3]) is None


def test_tokens_are_ranked_by_how_often_they_are_high():
    tokens = token_ratios(shape_rows())
    assert tokens[0].text == "," and tokens[0].count == 160
    assert tokens[0].high.value == pytest.approx(0.75)
    assert tokens[0].high.low == tokens[0].high.high == pytest.approx(0.75)  # the same in all
    a = next(token for token in tokens if token.text == "a")
    assert a.high.low < a.high.value < a.high.high
    assert token_ratios(shape_rows(5)) == []  # in too few responses


def test_the_interval_draws_whole_responses():
    alike = np.tile([[10.0, 5.0]], (50, 1))
    apart = np.array([[10.0, 10.0], [10.0, 0.0]] * 25)
    assert ratio_of_sums(alike).low == ratio_of_sums(alike).high == 0.5
    interval = ratio_of_sums(apart)
    assert interval.value == 0.5 and 0.34 < interval.low < 0.39 and 0.61 < interval.high < 0.66


def test_hub_spacing_is_compared_with_shuffled_throughput():
    actual, null, gap = against_chance(shape_rows(), coefficient_of_variation)
    assert actual.value == pytest.approx(np.std([4, 4, 5]) / np.mean([4, 4, 5]))
    expected = np.mean([np.std(gaps) / np.mean(gaps) for gaps in ([3, 9], [2, 7, 1])])
    assert null.value == pytest.approx(expected)
    assert gap.value == pytest.approx(actual.value - null.value)


def test_few_problems_give_no_empty_table_and_no_link_to_a_missing_figure(tmp_path):
    study = ShapeStudy(SolutionSettings("embedded", "countdown"), problems=2)
    rows = [row | {"spacing": [], "shuffled": [[]]} for row in shape_rows(2)]
    text = write_report(study, rows, tmp_path).read_text()
    assert "](" not in text and not (tmp_path / "figure.png").exists()
    assert "No token occurs 30 times or more in 10 responses or more" in text
    assert "No response has hubs enough for a spacing" in text
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|---"):
            assert lines[number + 1].startswith("| "), f"an empty table below {lines[number - 1]}"


def test_a_single_ranked_token_is_in_one_table_and_in_the_figure(tmp_path):
    study = ShapeStudy(SolutionSettings("embedded", "countdown"))
    rows = shape_rows()
    for row in rows:
        keep = [index for index, text in enumerate(row["texts"]) if text == ", "]
        for name in ("texts", "structural", "high"):
            row[name] = [row[name][index] for index in keep]
    text = write_report(study, rows, tmp_path).read_text()
    assert "Most often high" in text and "Least often high" not in text
    assert "](figure.png)" in text and (tmp_path / "figure.png").stat().st_size > 3000

"""The figures and the report of a causal study, from rows made by hand."""

import json

import numpy as np
import pytest
from helpers.studies import causal_rows

from flowtracer.math_answers.equality import same_answer
from flowtracer.statistics.intervals import bootstrap
from flowtracer.studies.causal.figure import draw, marks
from flowtracer.studies.causal.report import write_report
from flowtracer.studies.causal.settings import CausalStudy
from flowtracer.studies.causal.summary import against, area_against, areas, cells, reproduced
from flowtracer.studies.solutions import SolutionSettings

CHANCE = ("random@seed=0", "random@seed=1")


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "both"},
        {"ratios": (0.0,)},
        {"cuts": (1.5,)},
        {"excluded": (-1,)},
        {"scorers": ("nothing",)},
        {"cuts": (0.0,)},
        {"side": "tool"},
        {"scorers": ("flashtrace",)},
    ],
)
def test_wrong_settings_are_refused_before_any_work(change):
    with pytest.raises(ValueError):
        CausalStudy(**{"solutions": SolutionSettings("m", "t"), "scorers": ("flow",)} | change)


@pytest.mark.parametrize(
    ("answer", "other", "same"),
    [
        ("18", "18.00", True),
        ("18", "\\$18", True),
        ("1,200", "1200 dollars", True),
        ("(1 + 2) * 3", "(1+2)*3", True),
        ("18", "19", False),
        ("(1 + 2) * 3", "(2 + 1) * 3", False),
        ("18", "", False),
    ],
)
def test_answers_are_the_same_up_to_spelling(answer, other, same):
    assert same_answer(answer, other) is same


@pytest.mark.parametrize(
    ("change", "excluded"),
    [
        ({}, (10,)),
        ({"protocol": "rest"}, (0,)),
        ({"side": "prompt"}, (0,)),
        ({"excluded": (0,)}, (0,)),
        ({"protocol": "rest", "excluded": (0, 10)}, (0, 10)),
    ],
)
def test_the_last_tokens_are_excluded_in_front_of_the_answer_unless_told_otherwise(
    change, excluded
):
    assert CausalStudy(SolutionSettings("m", "t"), **change).excluded == excluded


def test_draws_are_averaged_and_what_is_not_reproduced_is_left_out():
    grid = cells(causal_rows())
    assert [(cell.label, cell.ratio) for cell in grid] == [
        ("flow", 0.1), ("random", 0.1), ("flow", 0.2), ("random", 0.2),
    ]  # fmt: skip
    assert grid[0].problems == tuple(range(1, 40)) and len(reproduced(causal_rows(), None)) == 39
    assert (grid[1].values["changed"] == 0.5).all() and (grid[1].values["drop"] == 1.5).all()
    # Where no answer is left, it is changed too, but not another one: 20 of 39 for flow.
    assert grid[0].values["unread"].sum() == 20 and grid[0].values["another"].sum() == 19
    assert (grid[1].values["another"] == 0.5).all() and not grid[1].values["unread"].any()
    gap = against(grid[0], grid, "changed")
    assert gap.value == 0.5 and 0.3 < gap.low < 0.5 < gap.high < 0.7
    assert against(grid[1], grid, "changed") is None


def test_the_area_is_the_mean_height_of_the_curve():
    all_areas = areas(cells(causal_rows()), "drop")
    flow = next(area for area in all_areas if area.label == "flow")
    # A line through 0 has half its height at the end as its mean.
    np.testing.assert_allclose(flow.values, [0.1 * (30 + problem) for problem in range(1, 40)])
    gap = area_against(flow, all_areas, "random")
    assert gap.value == pytest.approx(flow.values.mean() - 1.5)
    assert gap.low == pytest.approx(bootstrap(flow.values - 1.5).low)


def test_a_scorer_that_never_changes_an_answer_has_an_interval(tmp_path):
    rows = causal_rows(200)
    for row in rows:
        row["texts"][0]["reproduced"] = True
        for condition in row["texts"][0]["conditions"]:
            condition["changed"] = condition["changed"] and condition["scorer"] != "flow"
    study = CausalStudy(
        SolutionSettings("m", "t"), 200, ("flow", *CHANCE), (0.1, 0.2), excluded=(0,)
    )
    text = write_report(study, rows, tmp_path).read_text()
    assert "| flow | 10% | 0.0 [0.0, 1.9] |" in text and "| 0.0 [0.0, 0.0]" not in text


def test_the_report_shows_the_papers_row_and_a_picture(tmp_path):
    study = CausalStudy(
        SolutionSettings("m", "gsm8k"), 40, ("flow", *CHANCE), (0.1, 0.2), excluded=(0,)
    )
    text = write_report(
        study, causal_rows(), tmp_path, command="flowtracer study causal"
    ).read_text()
    assert "45.9 / 14.9" in text and "29.5 / 4.5" in text
    assert "39 of 40 problems; in the other 1" in text and "`flowtracer study causal`" in text
    assert (tmp_path / "figure.png").stat().st_size > 5000
    assert "no answer left" in text and "| 51.3 [" in text  # 20 of 39


def test_a_report_without_any_reproduced_answer_says_so(tmp_path):
    rows = causal_rows(1)  # that of the first one is not reproduced
    study = CausalStudy(SolutionSettings("m", "t"), 1, ("flow", *CHANCE), (0.1, 0.2), excluded=(0,))
    text = write_report(study, rows, tmp_path).read_text()
    assert "0 of 1 problems" in text and "| scorer" not in text and "figure" not in text


def test_nothing_is_said_of_answers_that_were_not_generated(tmp_path):
    rows = causal_rows()
    for row in rows:
        for condition in row["texts"][0]["conditions"]:
            del condition["changed"], condition["answer"], condition["reversed"]
    study = CausalStudy(SolutionSettings("m", "t"), 40, ("flow",), excluded=(0,), regenerate=False)
    text = write_report(study, rows, tmp_path).read_text()
    assert "reproduced" not in text and "drop, nats, over random" in text


def test_bars_of_all_panels_are_at_their_own_label():
    rows = causal_rows()
    for row in rows:
        for condition in row["texts"][0]["conditions"]:
            condition.pop("drop")
        row["texts"][0]["conditions"] = [
            condition for condition in row["texts"][0]["conditions"] if condition["ratio"] == 0.2
        ]
        early = json.loads(json.dumps(row["texts"][0])) | {"cut": 0.25}
        for condition in early["conditions"]:  # the other way round: chance always, flow never
            condition["changed"], condition["answer"] = condition["scorer"] != "flow", "8"
        row["texts"] = [early, row["texts"][0] | {"cut": 0.75}]
    figure = draw(marks(cells(rows)))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert all("answer" in title and "words" not in title for title in titles), titles
    for axes, flow, chance in zip(figure.axes, (0.0, 100.0), (100.0, 50.0), strict=True):
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        places = [0.0] * len(names)  # another answer and none left, together
        for bar in axes.patches:
            places[round(bar.get_y() + bar.get_height() / 2)] += bar.get_width()
        assert places[names.index("flow")] == pytest.approx(flow)
        assert places[names.index("random")] == pytest.approx(chance)

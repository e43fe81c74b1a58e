"""Measures, what they take, and the figures of a causal study, by hand-made rows."""

import json

import numpy as np
import pytest
import torch

from flowtracer.credit import ScoreOptions
from flowtracer.evaluation.intervals import bootstrap
from flowtracer.math_answers.equality import same_answer
from flowtracer.studies.causal.report import _figure, write_report
from flowtracer.studies.causal.study import CausalStudy
from flowtracer.studies.causal.summary import against, area_against, areas, came_back, cells
from flowtracer.studies.measures import choose, parse_measure, parse_measures


def test_a_measure_is_read_from_one_word():
    found = parse_measure("flow@layers=2-4,edges=value,heads=far,answer_tokens=relay,end=bottom")
    assert found.options == ScoreOptions("2-4", "relay", 0, "value", "far")
    assert (found.scorer, found.end, found.among) == ("flow", "bottom", "all")
    assert parse_measure("random@seed=2").label == parse_measure("random").label == "random"
    assert parse_measure("random@seed=2,end=bottom").label == "random@end=bottom"
    assert parse_measure("flow@shuffled=yes").shuffled


@pytest.mark.parametrize(
    "text", ["sorcery", "flow@", "flow@end", "flow@end=up", "flow@depth=3", "random@seed=x"]
)
def test_a_measure_that_is_unknown_is_refused(text):
    if text == "flow@":
        assert parse_measure(text).options == ScoreOptions()
        return
    with pytest.raises(ValueError, match=r"sorcery|unknown|number"):
        parse_measure(text)


def test_measures_are_named_once():
    with pytest.raises(ValueError, match="each named once"):
        parse_measures(["flow", "flow"])


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "both"},
        {"ratios": (0.0,)},
        {"cuts": (1.5,)},
        {"spared": (-1,)},
        {"measures": ("nothing",)},
        {"protocol": "rest", "regenerate": False},
    ],
)
def test_wrong_settings_are_refused_before_any_work(change):
    with pytest.raises(ValueError):
        CausalStudy(**{"model": "m", "task": "t", "measures": ("flow",)} | change)


def test_every_measure_takes_as_many_tokens():
    scores = torch.tensor([0.0, 5, 1, 4, 2, 3, 9, 7, 8, 6])
    eligible = torch.arange(10) > 0
    structural = torch.arange(10) % 2 == 0
    wanted = {
        "flow": [6, 8, 7],
        "flow@end=bottom": [2, 4, 5],
        "flow@among=structural": [6, 8, 4],
        "flow@among=semantic": [7, 9, 1],
    }
    for name, tokens in wanted.items():
        taken = choose(scores, eligible, parse_measure(name), 0.3, structural)
        assert taken.nonzero()[:, 0].tolist() == sorted(tokens), name


@pytest.mark.parametrize(
    ("one", "other", "same"),
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
def test_answers_are_the_same_up_to_spelling(one, other, same):
    assert same_answer(one, other) is same


def made_rows(problems=40, cut=None):
    """Flow always changes the answer, chance in one draw out of two; problem 0 did not come back."""
    rows = []
    for problem in range(problems):
        conditions = [
            {"measure": name, "ratio": ratio, "spared": 0, "hidden": 4, "changed": changed,
             "answer": None if name == "flow" and problem % 2 else "8", "reversed": False,
             "drop": drop * ratio}
            for ratio in (0.1, 0.2)
            for name, changed, drop in (
                ("flow", True, 30 + problem), ("random@seed=0", True, 10), ("random@seed=1", False, 20),
            )
        ]  # fmt: skip
        text = {"cut": cut, "came_back": problem > 0, "conditions": conditions}
        rows.append({"problem": problem, "correct": True, "texts": [text]})
    return rows


def test_draws_are_averaged_and_what_did_not_come_back_is_left_out():
    found = cells(made_rows())
    assert [(one.label, one.ratio) for one in found] == [
        ("flow", 0.1), ("random", 0.1), ("flow", 0.2), ("random", 0.2),
    ]  # fmt: skip
    assert found[0].problems == tuple(range(1, 40)) and len(came_back(made_rows(), None)) == 39
    assert (found[1].values["changed"] == 0.5).all() and (found[1].values["drop"] == 1.5).all()
    # Where no answer is left, it is changed too, but not another one: 20 of 39 for flow.
    assert found[0].values["unread"].sum() == 20 and found[0].values["another"].sum() == 19
    assert (found[1].values["another"] == 0.5).all() and not found[1].values["unread"].any()
    gap = against(found[0], found, "changed")
    assert gap.value == gap.low == gap.high == 0.5
    assert against(found[1], found, "changed") is None


def test_the_area_is_the_mean_height_of_the_curve():
    found = areas(cells(made_rows()), "drop")
    flow = next(one for one in found if one.label == "flow")
    # A line through 0 has half its height at the end as its mean.
    np.testing.assert_allclose(flow.values, [0.1 * (30 + problem) for problem in range(1, 40)])
    gap = area_against(flow, found, "random")
    assert gap.value == pytest.approx(flow.values.mean() - 1.5)
    assert gap.low == pytest.approx(bootstrap(flow.values - 1.5).low)


def test_the_report_shows_the_papers_row_and_a_picture(tmp_path):
    study = CausalStudy("m", "gsm8k", ("flow", "random@seed=0", "random@seed=1"), (0.1, 0.2))
    text = write_report(study, made_rows(), tmp_path, command="flowtracer study causal").read_text()
    assert "45.9 / 14.9" in text and "29.5 / 4.5" in text
    assert "39 of 40 problems; in the other 1" in text and "`flowtracer study causal`" in text
    assert (tmp_path / "figure.png").stat().st_size > 5000
    assert "no answer left" in text and "| 51.3 [" in text  # 20 of 39


def test_a_report_without_any_answer_that_came_back_says_so(tmp_path):
    rows = made_rows(1)  # the first one did not
    study = CausalStudy("m", "t", ("flow", "random@seed=0", "random@seed=1"), (0.1, 0.2))
    text = write_report(study, rows, tmp_path).read_text()
    assert "0 of 1 problems" in text and "| measure" not in text and "figure" not in text


def test_nothing_is_said_of_answers_that_were_not_generated(tmp_path):
    rows = made_rows()
    for row in rows:
        for one in row["texts"][0]["conditions"]:
            del one["changed"], one["answer"], one["reversed"]
    study = CausalStudy("m", "t", ("flow",), regenerate=False)
    text = write_report(study, rows, tmp_path).read_text()
    assert "came" not in text and "drop, nats, over random" in text


def test_where_everything_is_spared_nothing_is_taken():
    nothing = torch.zeros(3, dtype=torch.bool)
    taken = choose(torch.ones(3), nothing, parse_measure("flow"), 0.2, nothing)
    assert not taken.any()


def test_bars_of_all_panels_stand_at_their_own_label():
    rows = made_rows()
    for row in rows:
        for one in row["texts"][0]["conditions"]:
            one.pop("drop")
        row["texts"][0]["conditions"] = [
            one for one in row["texts"][0]["conditions"] if one["ratio"] == 0.2
        ]
        early = json.loads(json.dumps(row["texts"][0])) | {"cut": 0.25}
        for one in early["conditions"]:  # the other way round: chance always, flow never
            one["changed"] = one["measure"] != "flow"
        row["texts"] = [early, row["texts"][0] | {"cut": 0.75}]
    figure = _figure(cells(rows))
    for axes, flow, chance in zip(figure.axes, (0.0, 100.0), (100.0, 50.0), strict=True):
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        places = {
            round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in axes.patches
        }
        assert places[names.index("flow")] == flow and places[names.index("random")] == chance

"""Charts of studies: what they mark, what they name, and that nothing lies over anything else."""

import json
from itertools import combinations, pairwise

import numpy as np
import pytest
from helpers.studies import causal_rows
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from flowtracer.render.charts import REST, apart, limits, tints
from flowtracer.studies.causal.figure import draw, marks
from flowtracer.studies.causal.summary import cells


def drawn(figure):
    FigureCanvasAgg(figure).draw()
    return figure


def many_scorers(count=18):
    """Rows in which many scorers drop the answer by nearly the same."""
    rows = causal_rows(12)
    for row in rows:
        template = row["texts"][0]["conditions"][0]
        row["texts"][0]["conditions"] = [
            template
            | {"scorer": name, "ratio": ratio, "drop": (1 + 0.01 * number) * ratio + number // 9}
            for ratio in (0.1, 0.2)
            for number, name in enumerate(
                ["flow", "random@seed=0", *(f"scorer {n}" for n in range(count - 2))]
            )
        ]
    return rows


def test_few_of_many_curves_are_coloured_and_all_are_named_apart():
    figure = drawn(draw(marks(cells(many_scorers()))))
    (axes,) = figure.axes
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    assert len(lines) == 18
    assert sum(line.get_color() != REST for line in lines) <= 6
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 18 and figure.legends == [] and axes.get_legend() is None
    boxes.sort(key=lambda box: box.y0)
    for lower, upper in pairwise(boxes):
        assert (
            lower.y1 <= upper.y0 + 0.35 * lower.height
        )  # by the room of a line, not of its letters
    assert all(box.x1 <= figure.bbox.x1 and box.x0 > axes.bbox.x1 for box in boxes)


@pytest.mark.parametrize("texts", [1, 2])
@pytest.mark.parametrize("ratios", [(0.2,), (0.1, 0.2)])
@pytest.mark.parametrize("side", ["response", "user"])
def test_every_text_is_inside_the_figure_and_over_no_other(texts, ratios, side):
    rows = causal_rows()
    for row in rows:
        (text,) = row["texts"]
        text["conditions"] = [
            condition for condition in text["conditions"] if condition["ratio"] in ratios
        ]
        row["texts"] = [text | {"cut": cut} for cut in (0.25, 0.75)[:texts]]
    figure = drawn(draw(marks(cells(rows)), side))
    beyond = {  # matplotlib makes ticks outside the limits, and does not draw them
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in figure.findobj(Text)
        if text.get_text() and text.get_visible() and text not in beyond
    ]
    assert any("knocked out" in text.lower() or "answer" in text for text, _ in boxes)
    for text, box in boxes:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text
    for (text, box), (other, another) in combinations(boxes, 2):
        assert not box.padded(-2).overlaps(another.padded(-2)), f"{text!r} lies over {other!r}"


def test_another_answer_and_none_left_are_stacked():
    rows = causal_rows()
    for row in rows:
        text = row["texts"][0]
        text["conditions"] = [
            condition for condition in text["conditions"] if condition["ratio"] == 0.2
        ]
    figure = drawn(draw(marks(cells(rows))))
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    index = names.index("flow")
    parts = [bar for bar in axes.patches if round(bar.get_y() + bar.get_height() / 2) == index]
    widths = [bar.get_width() for bar in parts]
    assert widths == [pytest.approx(1900 / 39), pytest.approx(2000 / 39)]
    assert parts[1].get_x() == pytest.approx(widths[0])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["another answer", "no answer left"]


def test_rows_that_do_not_tell_the_two_apart_have_plain_bars():
    rows = json.loads(json.dumps(causal_rows()))
    for row in rows:
        text = row["texts"][0]
        text["conditions"] = [
            {k: v for k, v in condition.items() if k != "answer"}
            for condition in text["conditions"]
            if condition["ratio"] == 0.2
        ]
    figure = drawn(draw(marks(cells(rows))))
    assert len(figure.axes[0].patches) == 2 and figure.legends == []


def test_labels_are_moved_apart_and_no_further():
    assert apart([1.0, 5.0], 1.0, 0.0, 10.0) == [1.0, 5.0]
    assert apart([5.0, 5.0], 1.0, 0.0, 10.0) == [4.5, 5.5]
    placed = apart(list(np.zeros(5)), 1.0, 0.0, 10.0)
    assert placed == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert apart([10.0, 10.0], 1.0, 0.0, 10.0) == [9.0, 10.0]


def test_an_axis_does_not_magnify_a_small_difference():
    low, high = limits([0.493, 0.497], 0.2)
    assert high - low >= 0.2 - 1e-9 and low < 0.493 < 0.497 < high
    assert limits([0.05, 0.06], 0.5)[0] == 0.0
    assert limits([0.5], 0.1, baseline=0.2)[0] < 0.2


def test_only_the_first_names_are_coloured():
    colours = tints(list("abcdefghij"), {"j": "#000000"})
    assert colours["j"] == "#000000" and sum(colour != REST for colour in colours.values()) == 6

"""The picture of what calibrated credit measured and used."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from flowtracer.render.charts import FLOW, REST
from flowtracer.training.calibration_picture import calibration_picture

RULES = ("flow", "position")


def rows(*used, measured=(1, 3), alignment=0.02):
    """A run's rows: of each step the shares of the rules; alignments at the steps that were measured."""
    result = []
    for step, shares in enumerate(used, start=1):
        row = {"step": step, "reward": 0.5, "calibrated/share/uniform": float(not shares)}
        row |= {f"calibrated/share/{rule}": shares.get(rule, 0.0) for rule in RULES}
        if step in measured:
            row |= {f"calibrated/alignment/{rule}": alignment * step for rule in RULES}
        result.append(row)
    return result


def lines(figure):
    above = figure.axes[0]
    return {
        line.get_color(): line.get_xydata().tolist()
        for line in above.lines
        if line.get_marker() == "o"
    }


def strips(figure):
    """Of each filled area its colour and its outline's lowest and highest corner, where it has an area."""
    below = figure.axes[1]
    boxes = [
        (tuple(area.get_facecolor()[0]), area.get_datalim(below.transData))
        for area in below.collections
    ]
    return {colour: (box.x0, box.y0, box.x1, box.y1) for colour, box in boxes if box.height > 0}


def test_alignments_are_means_over_the_runs_at_measured_steps():
    figure = calibration_picture({"a": rows({}, {}, {}), "b": rows({}, {}, {}, alignment=0.04)})
    for points in lines(figure).values():
        assert points == [[1, pytest.approx(0.03)], [3, pytest.approx(0.09)]]
    assert FLOW in lines(figure)
    FigureCanvasAgg(figure).draw()


def test_a_strip_shows_the_shares_of_the_rules_in_use():
    import matplotlib.colors

    figure = calibration_picture(
        {"a": rows({}, {"flow": 0.25, "position": 0.75}, {"position": 1.0})}
    )
    flow = matplotlib.colors.to_rgba(FLOW)
    areas = strips(figure)
    assert areas[flow][3] == pytest.approx(-0.4 + 0.8 * 0.25)
    (other,) = (box for colour, box in areas.items() if colour != flow)
    assert other[3] == pytest.approx(0.4)
    assert figure.axes[1].get_xlim() == (0.5, 3.5)


def test_uniform_weights_leave_a_strip_white():
    assert strips(calibration_picture({"a": rows({}, {}, {})})) == {}


def test_of_many_rules_those_in_use_have_a_colour():
    many = [f"rule {number}" for number in range(9)]
    row = {"step": 1, "calibrated/share/uniform": 0.0}
    row |= {f"calibrated/alignment/{rule}": 0.1 for rule in many}
    row |= {f"calibrated/share/{rule}": float(rule == "rule 8") for rule in many}
    figure = calibration_picture({"a": [row]})
    texts = {text.get_text(): text.get_weight() for text in figure.axes[0].texts}
    assert len(texts) == 9 and texts["rule 8"] == "bold" and texts["rule 7"] == "normal"
    assert REST in lines(figure)


def test_a_run_without_calibrations_has_no_picture():
    assert calibration_picture({"a": [{"step": 1, "reward": 0.5}]}) is None
    assert calibration_picture({}) is None

"""Training curves: an axis that does not magnify noise, few colours, a name at every line."""

from itertools import pairwise

from matplotlib.backends.backend_agg import FigureCanvasAgg

from flowtracer.render.charts import REST
from flowtracer.training.curves import BASELINES, PANELS, training_curves


def rows(height, key):
    return [{"step": step, key: height + 0.001 * (step % 3)} for step in range(1, 21)]


def test_a_flat_metric_keeps_its_range_and_shows_its_baseline():
    key = "credit/concentration"
    (axes,) = training_curves({"flow": rows(0.495, key)}).axes
    low, high = axes.get_ylim()
    assert low < BASELINES[key][0] < 0.495 < high
    assert "equal scores" in [text.get_text() for text in axes.texts]
    for metric in PANELS:
        low, high = training_curves({"flow": rows(0.495, metric)}).axes[0].get_ylim()
        assert high - low > 0.09  # twenty times what the values differ by


def test_few_runs_are_coloured_and_all_are_named_apart():
    runs = {f"run {number}": rows(0.4 + 0.01 * number, "reward") for number in range(10)}
    figure = training_curves(runs)
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    named = [line for line in axes.lines if not line.get_label().startswith("_")]
    coloured = {line.get_label() for line in named if line.get_color() != REST}
    assert len(named) == 10 and coloured == {"run 0", *(f"run {n}" for n in range(5, 10))}
    boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
    assert len(boxes) == 10 and boxes[-1].x1 <= figure.bbox.x1
    steps = [upper.y0 - lower.y0 for lower, upper in pairwise(boxes)]
    assert min(steps) >= 0.75 * boxes[0].height

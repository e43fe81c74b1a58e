"""What the referee predicted, compared with the outcome of training."""

import json

import numpy as np
import pytest

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from flowtracer.studies.training.foretold import in_words, predict, read_foretold, spearman
from flowtracer.studies.training.pictures import scatter
from flowtracer.studies.training.report import write_report
from flowtracer.studies.training.study import TrainingResults, TrainingStudy, VariantResult
from flowtracer.studies.training.variants import variants

METHODS = ["uniform", "flow", "flow@end=bottom", "position", "random"]


def planted(slope, seed=0):
    """Methods whose training follows their alignment, with noise of both."""
    generator = np.random.default_rng(seed)
    truth = dict(zip("abcdef", np.linspace(-1, 1, 6), strict=True))
    foretold = {name: value + generator.normal(0, 0.2, 12) for name, value in truth.items()}
    seen = {name: slope * value + generator.normal(0, 0.2, 8) for name, value in truth.items()}
    return foretold, seen


def test_rank_correlation_is_spearmans():
    pandas = pytest.importorskip("pandas")
    generator = np.random.default_rng(0)
    for _ in range(5):
        x, y = generator.integers(0, 6, (2, 9)).astype(float)  # with ties
        ranks = [pandas.Series(values).rank() for values in (x, y)]
        expected = ranks[0].corr(ranks[1])
        assert spearman(x, y) == pytest.approx(expected)
    assert spearman(np.zeros(4), np.arange(4.0)) == 0


def test_a_planted_relation_is_found_and_none_is_not():
    prediction = predict(*planted(1.0))
    assert prediction.correlation.low > 0.5 and prediction.p < 0.02
    assert "alignment predicts the order" in in_words(prediction)
    reverse = predict(*planted(-1.0))
    assert reverse.correlation.high < -0.5
    assert "the reverse order" in in_words(reverse)
    foretold, seen = planted(0.0, seed=3)
    nothing = predict(foretold, seen)
    assert nothing.correlation.low < 0 < nothing.correlation.high and nothing.p > 0.05
    assert "is open" in in_words(nothing)


def test_an_order_of_four_methods_decides_nothing():
    foretold, seen = planted(1.0)
    few = predict({name: foretold[name] for name in "abde"}, {name: seen[name] for name in "abde"})
    assert few.correlation.low > 0 and few.p > 0.05
    assert "is open" in in_words(few)


def test_methods_that_were_not_foretold_are_named():
    foretold, seen = planted(1.0)
    del foretold["a"]
    prediction = predict(foretold, seen)
    assert prediction.missing == ("a",) and "Not foretold: a." in in_words(prediction)
    with pytest.raises(ValueError, match="needs 3 or more"):
        predict({"b": foretold["b"]}, seen)


def report_of_referee(folder, rules):
    folder.mkdir()
    entries = [{"name": name, "differences": list(values)} for name, values in rules.items()]
    (folder / "figures.json").write_text(json.dumps({"rules": entries}))


def test_a_rule_is_found_however_it_is_written(tmp_path):
    rules = {"uniform": [0.0], "flow@end=top,ratio=0.4": [0.1], "position@end=top": [0.2]}
    report_of_referee(tmp_path / "g", rules)
    foretold = read_foretold(tmp_path / "g", variants(METHODS, []))
    assert set(foretold) == {"flow", "position"} and foretold["flow"] == [0.1]
    with pytest.raises(ValueError, match="holds no finished"):
        report_of_referee(tmp_path / "h", {})
        (tmp_path / "h" / "figures.json").write_text("{}")
        read_foretold(tmp_path / "h", variants(METHODS, []))


def test_the_report_states_both(tmp_path):
    generator = np.random.default_rng(1)
    gains = dict(zip(METHODS, (0.0, -0.04, 0.06, 0.03, 0.0), strict=True))
    rules = {name: gain + generator.normal(0, 0.01, 10) for name, gain in gains.items()}
    report_of_referee(tmp_path / "g", rules)
    chosen = variants(METHODS, [])
    start = np.zeros((20, 1))

    def runs(gain):
        return tuple(
            tuple(
                {"step": step, "reward": 0.6 + gain + generator.normal(0, 0.005), "step_time": 1.0}
                for step in range(1, 6)
            )
            for _ in range(3)
        )

    results = tuple(
        VariantResult(variant.name, (start,) * 3, runs(gains[method]))
        for variant, method in zip(chosen, METHODS, strict=True)
    )
    study = TrainingStudy("c.yaml", tuple(chosen), (0, 1, 2), start_model="m", task="t")
    table = write_report(study, TrainingResults(start, results), tmp_path, foretold=tmp_path / "g")
    text = table.read_text()
    assert "Spearman's rank correlation +" in text and "(foretold.png)" in text
    figures = json.loads((tmp_path / "figures.json").read_text())["foretold"]
    assert figures["correlation"]["value"] > 0.5 and len(figures["pairs"]) == 4
    assert (tmp_path / "foretold.png").stat().st_size > 5000
    assert scatter(predict(*planted(1.0)), "reward").axes

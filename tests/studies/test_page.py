"""Token shares with intervals, and the page of all studies."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from flowtracer.evaluation.intervals import ratio_of_sums
from flowtracer.studies.page import find_studies, write_report
from flowtracer.studies.provenance import note_making, provenance, provenance_line
from flowtracer.studies.resume import SolutionStudy
from flowtracer.studies.shape.report import against_chance, token_shares, unevenness
from flowtracer.studies.shape.report import write_report as write_shape
from flowtracer.studies.solutions import SolutionSettings


def made_rows(responses=40):
    """A comma is high in three cases out of four, `</script>` never, the rest now and then."""
    draw = np.random.default_rng(0)
    rows = []
    for problem in range(responses):
        texts = [", ", "</script>", " a", "|", "\n", "$x$"] * 4
        high = [(text == ", ") * (place % 24 != 0) or (text == " a" and draw.random() < 0.4)
                for place, text in enumerate(texts)]  # fmt: skip
        rows.append(
            {
                "problem": problem,
                "texts": texts,
                "structural": [int(not any(c.isalnum() for c in text)) for text in texts],
                "high": [int(one) for one in high],
                "held": [0.05, 0.2, 0.5, 0.8],
                "held_with_answer": [0.1, 0.3, 0.6, 0.9],
                "spacing": [4, 4, 5],
                "shuffled": [[3, 9], [2, 7, 1]],
            }
        )
    return rows


def test_tokens_are_ranked_by_how_often_they_are_high():
    found = token_shares(made_rows())
    assert found[0].text == "," and found[0].count == 160
    assert found[0].share.value == pytest.approx(0.75)
    assert found[0].share.low == found[0].share.high == pytest.approx(0.75)  # the same in all
    a = next(one for one in found if one.text == "a")
    assert a.share.low < a.share.value < a.share.high
    assert token_shares(made_rows(5)) == []  # in too few responses


def test_the_interval_draws_whole_responses():
    alike = np.tile([[10.0, 5.0]], (50, 1))
    apart = np.array([[10.0, 10.0], [10.0, 0.0]] * 25)
    assert ratio_of_sums(alike).low == ratio_of_sums(alike).high == 0.5
    found = ratio_of_sums(apart)
    assert found.value == 0.5 and 0.34 < found.low < 0.39 and 0.61 < found.high < 0.66


def test_hub_spacing_is_held_against_shuffled_throughput():
    own, null, gap = against_chance(made_rows(), unevenness)
    assert own.value == pytest.approx(np.std([4, 4, 5]) / np.mean([4, 4, 5]))
    expected = np.mean([np.std(one) / np.mean(one) for one in ([3, 9], [2, 7, 1])])
    assert null.value == pytest.approx(expected)
    assert gap.value == pytest.approx(own.value - null.value)


def test_all_studies_stand_on_one_page_that_needs_no_other_file(tmp_path):
    (tmp_path / "model").mkdir()
    study = SolutionStudy(SolutionSettings(str(tmp_path / "model"), "t"))
    for name in ("b", "a"):
        folder = tmp_path / name
        folder.mkdir()
        write_shape(study, made_rows(), folder)
        (folder / "study.json").write_text(json.dumps(asdict(study)))
    assert [one.name for one in find_studies(tmp_path)] == ["a", "b"]
    markdown, page = write_report(tmp_path)
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 2 and 'src="figure.png"' not in text
    assert "http" not in text and "<script" not in text and str(tmp_path) not in text
    assert "&quot;model&quot;: &quot;model&quot;" in text
    assert "<code>&lt;/script&gt;</code>" in text
    assert text.index('id="a"') < text.index('id="b"')
    assert "](a/figure.png)" in markdown.read_text()
    with pytest.raises(ValueError, match="holds no finished study"):
        find_studies(tmp_path / "a" / "nothing")


def test_a_study_names_everything_that_its_rows_were_made_with(tmp_path, monkeypatch):
    for commit in ("abc1234", "abc1234", "def5678-dirty"):
        monkeypatch.setattr("flowtracer.studies.provenance._commit", lambda commit=commit: commit)
        note_making(tmp_path)
    origin = provenance("m", "flowtracer study", tmp_path)
    assert [one["commit"] for one in origin["made"]] == ["abc1234", "def5678-dirty"]
    line = provenance_line(origin)
    assert "commit abc1234; " in line and "commit def5678-dirty; `flowtracer study`" in line

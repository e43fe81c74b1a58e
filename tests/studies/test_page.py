"""The page of all studies, and what each study says it was made with."""

import json
from dataclasses import asdict

import pytest
from helpers.studies import shape_rows

from flowtracer.studies.page import find_studies, write_report
from flowtracer.studies.provenance import note_environment, provenance, provenance_line
from flowtracer.studies.shape.report import write_report as write_shape
from flowtracer.studies.shape.study import ShapeStudy
from flowtracer.studies.solutions import SolutionSettings


def test_all_studies_are_on_one_page_that_needs_no_other_file(tmp_path):
    (tmp_path / "model").mkdir()
    study = ShapeStudy(SolutionSettings(str(tmp_path / "model"), "t"))
    for name in ("b", "a"):
        folder = tmp_path / name
        folder.mkdir()
        write_shape(study, shape_rows(), folder)
        (folder / "study.json").write_text(json.dumps(asdict(study)))
    assert [folder.name for folder in find_studies(tmp_path)] == ["a", "b"]
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
        note_environment(tmp_path)
    origin = provenance("m", "flowtracer study", tmp_path)
    assert [environment["commit"] for environment in origin["environments"]] == [
        "abc1234",
        "def5678-dirty",
    ]
    line = provenance_line(origin)
    assert "commit abc1234; " in line and "commit def5678-dirty; `flowtracer study`" in line

"""The page of all studies, and what each study says it was made with."""

import json
from dataclasses import asdict

import pytest
from helpers.browser import chromium
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


def test_every_picture_of_a_study_is_on_the_page_and_no_other_file(tmp_path):
    study = tmp_path / "s"
    study.mkdir()
    (study / "table.md").write_text(
        "![a](rules-flow@end=bottom,emphasis=3.png) ![b](../secret.png) ![c](gone.png)"
    )
    for path in (study / "rules-flow@end=bottom,emphasis=3.png", tmp_path / "secret.png"):
        path.write_bytes(b"png")
    markdown, page = write_report(tmp_path)
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 1
    assert 'src="gone.png"' in text and 'src="../secret.png"' in text
    assert "](s/rules-flow@end=bottom,emphasis=3.png)" in markdown.read_text()


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


WIDE_TABLE = """# Alignment: t

| rule | verdict | less uniform | batch | cosine | GRPO | signs | Gini | tokens |
|---|---|---|---|---|---|---|---|---|
""" + "\n".join(
    f"| `flow@end=bottom,emphasis={number}` | better | +0.092 [+0.084, +0.100] | 1.67 [1.58, 1.76] "
    "| 0.626 [0.603, 0.648] | +0.094 [+0.086, +0.102] | +0.074 [+0.070, +0.077] | 0.26 | 0.78 |"
    for number in range(5)
)


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1000, 1400, 1600])
def test_tables_scroll_in_their_box_and_the_page_does_not(tmp_path, width, dark):
    (tmp_path / "table.md").write_text(WIDE_TABLE)
    _, page = write_report(tmp_path)
    with chromium() as browser:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.as_uri())
        beyond, hint, left, verdict, last = browser.execute_script(
            """const box = document.querySelector('.table'), row = box.querySelector('tbody tr');
            const at = cell => cell.getBoundingClientRect();
            const verdict = at(row.cells[1]).right, last = at(row.cells[8]).right;
            const hint = getComputedStyle(document.querySelector('.hint')).display;
            box.scrollLeft = 10000;
            const page = document.documentElement;
            return [page.scrollWidth - page.clientWidth, hint, at(row.cells[0]).left, verdict, last]"""
        )
    assert beyond <= 0 and left >= 0 and verdict < width
    if width >= 1000:
        assert last <= width and hint == "none"
    else:
        assert hint == "block"

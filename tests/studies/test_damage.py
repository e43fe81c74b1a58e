"""Damaged files of a study or an evaluation are refused in one sentence that names the file."""

import json
import random

import pytest

pytest.importorskip("filelock", reason="needs the extra flowtracer[train]")

from flowtracer.evaluation.run import read_rewards
from flowtracer.studies.page import write_report
from flowtracer.studies.provenance import provenance
from flowtracer.studies.shape.study import ShapeStudy, run_shape
from flowtracer.studies.solutions import SolutionSettings
from flowtracer.tasks import load_task

STUDY = ShapeStudy(SolutionSettings("embedded", "countdown", max_new_tokens=128), problems=2)
NOT_AN_OBJECT = [b"[]", b"null", b"\x00\xff\xfe", b'{"a"', b"[1, 2]", b"7"]


def run(embedded, folder):
    return run_shape(STUDY, embedded, load_task("countdown"), folder, progress=lambda *a: None)


@pytest.fixture(scope="module")
def finished(embedded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    run(embedded, folder)
    return {path: path.read_bytes() for path in folder.rglob("*.json*")}


def refused(read, path, name=None):
    try:
        read()
    except ValueError as error:
        text = str(error)
        assert (name or path.name) in text or path.parent.name in text, text
        assert "\n" not in text and len(text) < 600
        return True
    return False


@pytest.mark.parametrize("name", ["study.json", "solutions.json", "rows.jsonl", "solutions.jsonl"])
@pytest.mark.parametrize("content", NOT_AN_OBJECT)
def test_a_file_that_is_something_else_is_named(embedded, finished, name, content):
    path = next(path for path in finished if path.name == name)
    try:
        path.write_bytes(content + b"\n")
        folder = path.parent.parent if path.parent.name == "solutions" else path.parent
        assert refused(lambda: run(embedded, folder), path)
    finally:
        path.write_bytes(finished[path])


def trial_of_solutions(embedded, finished, odd_values):
    """A field of a random line is replaced by each odd value; returns how many were refused."""
    path = next(path for path in finished if path.name == "solutions.jsonl")
    draw = random.Random(0)
    lines = [json.loads(line) for line in finished[path].splitlines()]
    count = 0
    try:
        for name in lines[0]:
            for odd in odd_values:
                row = draw.randrange(len(lines))
                damaged = [*lines[:row], lines[row] | {name: odd}, *lines[row + 1 :]]
                path.write_text("".join(json.dumps(line) + "\n" for line in damaged))
                assert refused(lambda: run(embedded, path.parents[1]), path), (name, odd)
                count += 1
    finally:
        path.write_bytes(finished[path])
    return count


def test_a_field_of_another_type_names_the_file(embedded, finished):
    assert trial_of_solutions(embedded, finished, [None]) == 8


@pytest.mark.slow
def test_odd_values_in_any_field_name_the_file(embedded, finished):
    odd = [-1, 10**400, [], {}, "x", [None], [10**30], [-5], 0.5, True]
    assert trial_of_solutions(embedded, finished, odd) == 80


@pytest.mark.parametrize("odd", [None, "x", {}, 10**400, [[None]]])
def test_damaged_insides_of_rows_are_named_before_anything_is_made(embedded, finished, odd):
    path = next(path for path in finished if path.name == "rows.jsonl")
    first, second = map(json.loads, finished[path].splitlines())
    made = []
    try:
        for name in first:
            path.write_text(json.dumps(first | {name: odd}) + "\n")  # the second is to be made
            with pytest.raises(ValueError, match=rf"rows\.jsonl, line 1: {name} is .*; delete the"):
                run_shape(
                    STUDY, embedded, load_task("countdown"), path.parent,
                    progress=lambda stage, *a: made.append(stage),
                )  # fmt: skip
        assert "scoring" not in made and set(second) == set(first)
    finally:
        path.write_bytes(finished[path])


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"\xff", b'["a"', b"7"])
def test_environments_that_are_no_list_name_their_file(tmp_path, content):
    path = tmp_path / "environments.json"
    path.write_bytes(content)
    assert refused(lambda: provenance("embedded", "", tmp_path), path)


@pytest.mark.parametrize(
    "row",
    [
        {"problem": 7, "sample": 0, "reward": 1.0},
        {"problem": -1, "sample": 0, "reward": 1.0},
        {"problem": "0", "sample": 0, "reward": 1.0},
        {"problem": [0], "sample": 0, "reward": 1.0},
        {"problem": 0, "sample": True, "reward": 1.0},
        {"problem": 0, "sample": 0, "reward": float("nan")},
        {"problem": 0, "sample": 0, "reward": "right"},
    ],
)
def test_a_completion_that_is_none_of_the_evaluation_names_its_file(tmp_path, row):
    (tmp_path / "eval.json").write_text('{"problems": 1, "samples": 1}')
    path = tmp_path / "completions.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=r"completions\.jsonl"):
        read_rewards(tmp_path)


def test_a_page_of_a_study_with_damaged_settings_names_them(tmp_path):
    (tmp_path / "table.md").write_text("| a |\n")
    (tmp_path / "study.json").write_bytes(b"[\xff")
    with pytest.raises(ValueError, match=r"study\.json"):
        write_report(tmp_path)

"""`flowtracer show` opens traces and every kind of rollouts; what it cannot open gets one sentence."""

import pytest
from helpers.commands import call
from helpers.rollouts import record, write
from helpers.traces import made_trace
from helpers.watched import watched_rollout

pytest.importorskip("pyarrow", reason="needs the extra flowtracer[score]")
from flowtracer.watching.parts import write_part


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Three rollouts scored by the embedded model."""
    folder = tmp_path_factory.mktemp("scored")
    write(folder / "in.jsonl", [record(number) for number in range(3)])
    assert call("score", "in.jsonl", "--out", "scores", cwd=folder).returncode == 0
    return folder


@pytest.mark.parametrize("name", ["run", "run/rollouts", "run/rollouts/step-000011.parquet"])
def test_a_runs_folder_and_file(tmp_path, name):
    for step in (1, 11):
        write_part(tmp_path / "run", step, [watched_rollout(["it", " is", " 7"], step=step)])
    shown = call("show", name, "--out", "page", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    counted = "1 rollout of 1 step" if name.endswith(".parquet") else "2 rollouts of 2 steps"
    assert f"{counted} (training run)" in shown.stdout
    assert (tmp_path / "page" / "rollouts.html").resolve().as_uri() in shown.stdout


def test_what_score_wrote_with_ids_and_with_text(scored):
    shown = call("show", "scores", cwd=scored)
    assert shown.returncode == 0 and "--tokenizer MODEL shows the text" in shown.stdout
    page = (scored / "scores" / "rollouts.html").read_text()
    assert "not 33" not in page
    shown = call("show", "scores", "--tokenizer", "embedded", "--rows", 2, cwd=scored)
    assert "the first 2 of 3 rows are shown" in shown.stdout
    assert "Make 33 from 3, 7, 18." in (scored / "scores" / "rollouts.html").read_text()


def test_a_trace_by_its_file_and_by_its_folder(tmp_path):
    made_trace(["user: ", "how"], ["it ", "is ", "42"], answer=-1).save(tmp_path / "trace.json")
    for name in ("trace.json", "."):
        shown = call("show", name, "--no-figures", cwd=tmp_path)
        assert shown.returncode == 0 and "trace.html" in shown.stdout, shown.stderr
        (tmp_path / "trace.html").unlink()


@pytest.mark.parametrize("name", ["missing", "empty", "x.txt", "missing.parquet"])
def test_what_cannot_be_opened(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").write_text("hello")
    shown = call("show", name, cwd=tmp_path)
    assert shown.returncode == 1 and shown.stderr.count("\n") == 1
    assert name in shown.stderr and "show opens a trace.json" in shown.stderr


def test_a_file_in_the_place_of_the_output_folder_and_a_folder_without_a_name(tmp_path):
    write_part(tmp_path / "run", 1, [watched_rollout(["a"])])
    (tmp_path / "taken").write_text("")
    shown = call("show", "run", "--out", "taken", cwd=tmp_path)
    assert shown.returncode == 1 and "taken is a file; --out takes a folder" in shown.stderr
    assert call("show", ".", cwd=tmp_path / "run").returncode == 0
    assert "<title>Rollouts of run (" in (tmp_path / "run" / "rollouts.html").read_text()


def test_a_tokenizer_of_another_model_is_told(scored):
    shown = call("show", "scores", "--tokenizer", "nowhere/here/at-all", cwd=scored)
    assert shown.returncode == 1 and shown.stderr.count("\n") == 1

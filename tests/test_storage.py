"""Files that survive a kill, folders for one process, settings that a folder keeps."""

import json
import os

import pytest
from filelock import FileLock

from flowtracer.storage import (
    append_rows,
    atomic_write,
    check_settings,
    lock,
    read_rows,
    write_json,
    write_rows,
)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="disk"), atomic_write(path) as partial:
        partial.write_text("half")
        raise OSError("disk is full")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["result.txt"]
    with atomic_write(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["result.txt"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_rows_go_on_behind_those_of_an_earlier_run(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    write_rows(path, [{"n": 0, "text": "½\u2028"}, {"other": 1}])
    with path.open("ab") as file:
        file.write('{"n": 1, "text": "½'.encode()[:-1])  # a kill in the middle of a character
    rows = read_rows(path, ("n",))
    assert rows == [{"n": 0, "text": "½\u2028"}]
    with append_rows(path, rows) as append:
        append([{"n": 1}, {"n": 2}])
        assert [row["n"] for row in read_rows(path)] == [0, 1, 2]  # flushed
    assert path.read_text(encoding="utf-8").count("\n") == 3


def test_a_folder_keeps_its_settings(tmp_path):
    path = tmp_path / "run.json"
    settings = {"seed": 0, "problems": 5, "credit": {"answer": len, "ratio": 0.4}}
    check_settings(path, settings, what="a run")
    check_settings(path, settings | {"problems": 9}, what="a run", free=("problems",))
    assert json.loads(path.read_text()) == {
        "seed": 0,
        "problems": 9,
        "credit": {"answer": "len", "ratio": 0.4},
    }
    other = settings | {"seed": 1, "credit": {"answer": len, "ratio": 0.2}}
    with pytest.raises(ValueError) as caught:
        check_settings(path, other, what="a run", free=("problems",), option="folder")
    assert str(caught.value) == (
        f"{tmp_path} holds a run with other settings (seed was 0, is 1; credit.ratio was 0.4, is 0.2); "
        "choose another folder"
    )
    assert json.loads(path.read_text())["seed"] == 0


def test_a_folder_is_for_one_process(tmp_path):
    folder = tmp_path / "new" / "folder"
    with lock(folder, "another run"):
        pass
    with FileLock(folder / ".lock"):  # noqa: SIM117
        with pytest.raises(ValueError, match="is in use by another run; choose another --out"):
            with lock(folder, "another run"):
                pass


def test_json_is_written_with_functions_by_name(tmp_path):
    write_json(tmp_path / "a.json", {"rule": len, "path": tmp_path})
    assert json.loads((tmp_path / "a.json").read_text()) == {"rule": "len", "path": str(tmp_path)}

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
    read_json,
    read_rows,
    remove_partials,
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


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe{}", b"[" * 100_000])
def test_damaged_settings_name_their_file(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    for read in (
        lambda: read_json(path, dict),
        lambda: check_settings(path, {"a": 1}, what="a run"),
    ):
        with pytest.raises(ValueError) as caught:
            read()
        assert str(caught.value).startswith(f"{path}: is damaged, it is not a JSON object; ")
    assert path.read_bytes() == content


@pytest.mark.parametrize("line", [b"\x00\xff\x89binary", b"{broken", b"[1]", b'{"n": "\\ud83d"}'])
def test_a_damaged_line_inside_a_file_of_rows_names_its_file(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n' + line + b'\n{"n": 2}\n')
    with pytest.raises(
        ValueError, match=f"^{path}, line 2: .*; delete the line and run the command"
    ):
        read_rows(path)


def test_what_a_kill_left_half_written_goes_with_the_next_run(tmp_path):
    for name in (".rows.jsonl.abc.partial", "kept.partial", ".run.json.x.partial"):
        (tmp_path / name).write_text("half")
    remove_partials(tmp_path, age=60)
    assert len(os.listdir(tmp_path)) == 3  # another process may be writing them
    with lock(tmp_path, "another run"):
        assert sorted(os.listdir(tmp_path)) == [".lock", "kept.partial"]


def test_rows_with_half_a_character_can_be_written(tmp_path):
    write_rows(tmp_path / "errors.jsonl", [{"file": "\udcff.jsonl"}])
    assert json.loads((tmp_path / "errors.jsonl").read_text()) == {"file": "\udcff.jsonl"}

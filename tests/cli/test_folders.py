"""Folders of results: never one that another process writes into, and no file of their own in them."""

import pytest
from filelock import FileLock

from flowtracer.cli.folders import chosen_folder, new_folder


def test_two_commands_at_once_take_two_folders(tmp_path):
    with new_folder(tmp_path / "trace") as first, new_folder(tmp_path / "trace") as second:
        assert (first.name, second.name) == ("trace", "trace-2")
        (first / "trace.json").touch()
    assert [path.name for path in first.iterdir()] == ["trace.json"]
    with new_folder(tmp_path / "trace") as third:
        assert third == second  # nothing was written into it


def test_what_a_kill_left_of_a_claim_is_no_result(tmp_path):
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace" / ".lock").touch()
    with new_folder(tmp_path / "trace") as folder:
        assert folder.name == "trace"
    (tmp_path / "trace").rmdir()
    (tmp_path / "trace").touch()  # a file of that name
    with new_folder(tmp_path / "trace") as folder:
        assert folder.name == "trace-2"


def test_a_chosen_folder_that_is_in_use_is_refused_even_with_overwrite(tmp_path):
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(ValueError, match="is in use by another command; choose another --out"),
        chosen_folder(tmp_path, ["trace.json"], overwrite=True),
    ):
        pass
    (tmp_path / "trace.json").touch()
    with (
        pytest.raises(ValueError, match="already; choose another --out or pass --overwrite"),
        chosen_folder(tmp_path, ["trace.json"], overwrite=False),
    ):
        pass
    with chosen_folder(tmp_path, ["trace.json"], overwrite=True) as folder:
        assert folder == tmp_path

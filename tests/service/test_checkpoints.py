"""Which checkpoints a scorer takes: complete ones, and only as far ahead as it was told."""

import json
import shutil
import time
import warnings

import pytest
from helpers.scoring import save_checkpoint, token_rows

from flowtracer import Scorer
from flowtracer.models import ModelError
from flowtracer.service.checkpoints import Watcher, find_checkpoints, weights_complete
from flowtracer.storage import MANIFEST_FILE, write_manifest


@pytest.fixture(scope="module")
def saved(embedded, tmp_path_factory):
    return save_checkpoint(embedded, tmp_path_factory.mktemp("saved") / "checkpoint-1", scale=-3.0)


def copy(saved, folder):
    shutil.copytree(saved, folder)
    return folder


def steps(watcher, step=None, looks=2):
    checkpoints = [watcher.newer(step) for _ in range(looks)]
    return [checkpoint and checkpoint.step for checkpoint in checkpoints]


def test_folders_are_ordered_by_their_number(tmp_path):
    for name in ("checkpoint-5", "checkpoint-40", "global_step_9", "last", ".hidden-99"):
        (tmp_path / name).mkdir()
    (tmp_path / "file-100").touch()
    assert [checkpoint.step for checkpoint in find_checkpoints(tmp_path)] == [40, 9, 5]
    assert find_checkpoints(tmp_path / "missing") == []


def test_a_checkpoint_without_a_manifest_is_taken_at_the_second_look(saved, tmp_path):
    copy(saved, tmp_path / "checkpoint-10")
    watcher = Watcher(tmp_path)
    assert steps(watcher) == [None, 10]
    assert steps(watcher, step=10) == [None, None]


def test_one_that_still_changes_is_not(saved, tmp_path):
    folder = copy(saved, tmp_path / "checkpoint-10")
    watcher = Watcher(tmp_path)
    for number in range(3):
        assert watcher.newer(None) is None
        (folder / f"optimizer-{number}.pt").write_bytes(b"state")
    assert steps(watcher) == [None, 10]


def test_every_n_steps(saved, tmp_path):
    watcher = Watcher(tmp_path, every=20)
    copy(saved, tmp_path / "checkpoint-10")
    assert steps(watcher) == [None, None]
    copy(saved, tmp_path / "checkpoint-25")
    assert steps(watcher) == [None, 25]
    copy(saved, tmp_path / "checkpoint-40")
    assert steps(watcher, step=25) == [None, None]
    with pytest.raises(ValueError, match="use 1 or more"):
        Watcher(tmp_path, every=0)


def test_a_manifest_says_at_once_what_is_complete(saved, tmp_path):
    folder = copy(saved, tmp_path / "checkpoint-10")
    write_manifest(folder, folder.iterdir())
    assert steps(Watcher(tmp_path), looks=1) == [10]
    (folder / "config.json").write_text("{}")
    assert steps(Watcher(tmp_path)) == [None, None]
    (folder / MANIFEST_FILE).write_text("[]")
    assert steps(Watcher(tmp_path)) == [None, None]


@pytest.mark.parametrize("left", [0, 7, 100, 5000, -1])
def test_half_a_file_of_weights_is_seen(saved, tmp_path, left):
    folder = copy(saved, tmp_path / "checkpoint-10")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:left])
    assert not weights_complete(folder)
    assert steps(Watcher(tmp_path)) == [None, None]


def test_an_index_names_files_that_are_all_needed(saved, tmp_path):
    folder = copy(saved, tmp_path / "checkpoint-10")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"weight_map": {"a": names[0], "b": names[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert not weights_complete(folder)
    shutil.copy(folder / names[0], folder / names[1])
    assert weights_complete(folder)
    (folder / "model.safetensors.index.json").write_text("{")
    assert not weights_complete(folder)


def test_the_older_complete_one_is_taken_while_the_newest_is_written(saved, tmp_path):
    copy(saved, tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-20").mkdir()
    assert steps(Watcher(tmp_path)) == [None, 10]


def test_a_scorer_takes_what_the_trainer_saved(saved, embedded, tmp_path):
    ids, lengths = token_rows(embedded, 3)
    scorer = Scorer("embedded", checkpoints=tmp_path)
    first = scorer.weights(ids, lengths)
    folder = copy(saved, tmp_path / "checkpoint-10")
    write_manifest(folder, folder.iterdir())
    assert scorer.refresh_if_newer() is False  # it looked within the last second
    scorer.look_seconds = 0.0
    second = scorer.weights(ids, lengths)
    assert (first.step, second.step, second.revision) == (None, 10, "checkpoint-10")
    assert second.weights != first.weights


def test_one_that_cannot_be_read_is_warned_of(saved, embedded, tmp_path):
    scorer = Scorer("embedded", checkpoints=tmp_path)
    scorer.look_seconds = 0.0
    folder = copy(saved, tmp_path / "checkpoint-10")
    (folder / "config.json").write_text('{"model_type": "nothing"}')
    write_manifest(folder, folder.iterdir())
    with pytest.warns(UserWarning, match="the scorer keeps embedded: model .*checkpoint-10"):
        assert scorer.refresh_if_newer() is False
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it is not read again as long as it is the same
            assert scorer.refresh_if_newer() is False
    assert scorer.step is None
    shutil.copy(saved / "config.json", folder)
    (folder / MANIFEST_FILE).unlink()
    assert [scorer.refresh_if_newer() for _ in range(2)] == [False, True]


def test_a_folder_that_cannot_be_looked_into_does_not_end_a_step(
    saved, embedded, tmp_path, monkeypatch
):
    scorer = Scorer(embedded, checkpoints=tmp_path)

    def gone(folder):
        raise OSError("Stale file handle")

    monkeypatch.setattr("flowtracer.service.checkpoints.find_checkpoints", gone)
    with pytest.warns(UserWarning, match="the scorer keeps embedded: Stale file handle"):
        assert scorer.weights([[1, 2]], [1]).states == ["no answer"]


def test_a_checkpoint_that_was_deleted_is_not_looked_up_on_the_hub(embedded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"no folder with a config\.json is there"):
        Scorer(embedded).refresh("runs/checkpoint-5")


def test_every_without_a_folder_is_refused(embedded):
    with pytest.raises(ValueError, match="every is 5 without a folder of checkpoints"):
        Scorer(embedded, every=5)


def test_a_server_follows_the_folder(saved, tmp_path):
    launch = pytest.importorskip("flowtracer.service.launch", reason="needs flowtracer[serve]")
    scorer = Scorer("embedded", checkpoints=tmp_path, every=5)
    scorer.look_seconds = 0.02
    ended = launch.watch(scorer)
    copy(saved, tmp_path / "checkpoint-3")
    copy(saved, tmp_path / "part")  # as a trainer that renames a folder when it is complete
    (tmp_path / "part").rename(tmp_path / "checkpoint-10")
    until = time.monotonic() + 20
    while scorer.step != 10 and time.monotonic() < until:
        time.sleep(0.01)
    ended.set()
    assert (scorer.step, scorer.revision) == (10, "checkpoint-10")

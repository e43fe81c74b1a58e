"""What a folder of scores holds is checked when a run goes on: stale, foreign and damaged files."""

import json
import random
import shutil

import pytest

pytest.importorskip("pyarrow.parquet", reason="needs the extra flowtracer[score]")

from helpers.rollouts import SETTINGS, record, table, write

from flowtracer.credit import Credit
from flowtracer.rollouts.parts import read_counts, run_of
from flowtracer.rollouts.score import score_files
from flowtracer.rollouts.worker import ScoreSettings

RANDOM = ScoreSettings("embedded", Credit(scorer="random"), max_tokens=400, batch_tokens=2000)


def parts(folder):
    return sorted((folder / "parts").glob("*.parquet"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    write(folder / "in.jsonl", [record(number) for number in range(11)] + ["{broken\n"])
    score_files(folder / "in.jsonl", folder / "out", RANDOM, shard_rows=4)
    return folder


@pytest.fixture
def scored(finished, tmp_path):
    """A copy of a finished run that a test may damage."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def again(folder, settings=RANDOM):
    return score_files(folder / "in.jsonl", folder / "out", settings, shard_rows=4)


def same(folder, finished):
    assert table(folder / "out") == table(finished / "out")
    for name in ("errors.jsonl", "manifest.json"):
        assert (folder / "out" / name).read_text() == (finished / "out" / name).read_text()


def test_an_input_edited_to_the_same_size_is_refused(scored):
    source = scored / "in.jsonl"
    source.write_text(source.read_text().replace("Make 33", "Make 34", 1))
    parts(scored / "out")[1].unlink()
    with pytest.raises(
        ValueError, match=r"holds scores with other settings \(input\.in\.jsonl was"
    ):
        again(scored)


def test_counts_of_answers_are_kept(finished):
    manifest = json.loads((finished / "out" / "manifest.json").read_text())
    answered = sum(row["answered"] for row in table(finished / "out"))
    assert manifest == {"rows": 11, "answered": answered, "errors": 1, "parts": 3}
    assert 0 < answered < 11
    assert again(finished).answered == answered


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def swap_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)


DAMAGE = {
    "part cut": lambda out: cut(parts(out)[1]),
    "part empty": lambda out: parts(out)[1].write_bytes(b""),
    "part with another byte": lambda out: swap_byte(parts(out)[1]),
    "part of another shard": lambda out: shutil.copy(parts(out)[0], parts(out)[1]),
    "part missing": lambda out: parts(out)[2].unlink(),
    "errors missing": lambda out: (out / "errors" / "part-000002.jsonl").unlink(),
    "errors emptied": lambda out: (out / "errors" / "part-000002.jsonl").write_text(""),
    "errors of another shard": lambda out: shutil.copy(
        out / "errors" / "part-000002.jsonl", out / "errors" / "part-000001.jsonl"
    ),
    "a part too many": lambda out: shutil.copy(
        parts(out)[0], out / "parts" / "part-000007.parquet"
    ),
    "half-written files": lambda out: [
        (out / folder / ".part-000001.x.partial").write_text("half")
        for folder in ("parts", "errors", ".")
    ],
    "counts changed": lambda out: (out / "checks" / "part-000001.json").write_text(
        (out / "checks" / "part-000001.json").read_text().replace('"rows": 4', '"rows": 3')
    ),
    "check damaged": lambda out: cut(out / "checks" / "part-000001.json"),
    "check of another shard": lambda out: shutil.copy(
        out / "checks" / "part-000000.json", out / "checks" / "part-000001.json"
    ),
    "settings missing": lambda out: (out / "score.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_or_foreign_is_made_again(damage, scored, finished):
    DAMAGE[damage](scored / "out")
    again(scored)
    same(scored, finished)
    assert not list((scored / "out").rglob("*.partial"))


def test_parts_of_other_settings_are_made_again_where_the_settings_are_missing(scored):
    (scored / "out" / "score.json").unlink()
    again(scored, SETTINGS)
    score_files(scored / "in.jsonl", scored / "new", SETTINGS, shard_rows=4)
    assert table(scored / "out") == table(scored / "new")


@pytest.mark.parametrize("text", ["", "[]", "[1, 2]", "{", "null", b"\xff\xfe"])
def test_damaged_settings_get_one_sentence_with_the_name_of_the_file(text, scored):
    path = scored / "out" / "score.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f"^{path}: is damaged, it is not a JSON object; "):
        again(scored)


def test_no_damage_of_a_part_goes_unnoticed(finished, tmp_path):
    shutil.copytree(finished / "out", tmp_path / "out")
    run = run_of(tmp_path / "out")
    path = parts(tmp_path / "out")[0]
    data = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for number in range(150):
        changed = bytearray(data)
        if number % 3 == 0:
            changed = changed[: draw.randrange(len(data))]
        else:
            changed[draw.randrange(len(data))] ^= draw.randint(1, 255)
        assert changed != data
        path.write_bytes(changed)
        refused += read_counts(tmp_path / "out", 0, run=run).total == 0
    assert refused == 150

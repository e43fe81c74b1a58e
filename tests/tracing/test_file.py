"""Traces as files, and what a trace says of itself."""

import json
import math
import threading

import pytest
from helpers.traces import HOSTILE, made_trace

from flowtracer import TraceFileError, load_trace, save_trace
from flowtracer.render import save_page
from flowtracer.render.figures import save_figures
from flowtracer.storage import atomic_write
from flowtracer.tracing.file import trace_from_json

NEW_IN_2 = (
    "matched_rule",
    "direct",
    "through_one",
    "scores",
    "layer_throughput",
    "correct",
    "cut_off",
)


@pytest.fixture(scope="module")
def made():
    return made_trace(["user: ", *HOSTILE], ["so ", *HOSTILE, "\n", "42", "."], answer=-2)


def test_a_trace_comes_back_as_it_was(made, tmp_path):
    made.save(tmp_path / "t.json")
    assert load_trace(tmp_path / "t.json") == made
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[1]", b"\xff\x00\x01", b'{"schema": "other"}', b"[" * 100_000, b"NaN"],
)
def test_files_that_are_no_traces_are_refused(content, tmp_path):
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(TraceFileError, match=r"t\.json"):
        load_trace(tmp_path / "t.json")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(TraceFileError, match=r"absent\.json: cannot be read"):
        load_trace(tmp_path / "absent.json")


def test_a_file_that_is_cut_off_is_refused_wherever_it_ends(made, tmp_path):
    save_trace(made, tmp_path / "t.json")
    whole = (tmp_path / "t.json").read_bytes()
    for length in (1, 20, len(whole) // 2, len(whole) - 1):
        (tmp_path / "t.json").write_bytes(whole[:length])
        with pytest.raises(TraceFileError, match=r"t\.json.*cut off"):
            load_trace(tmp_path / "t.json")


def test_another_schema_version_is_refused(made):
    for version in (0, 3, True, "2", None):
        with pytest.raises(
            TraceFileError, match=r"schema version .*, this flowtracer reads 1 and 2"
        ):
            trace_from_json(made.to_json() | {"version": version})


def test_version_1_is_read_without_what_it_did_not_have(made):
    data = json.loads(json.dumps(made.to_json())) | {"version": 1}
    for name in NEW_IN_2:
        del data[name]
    answer = made.roles.index("answer")
    data |= {"hubs": sorted([*made.hubs, answer]), "routes": [[[0, answer], 0.5]]}
    old = trace_from_json(data)
    assert old.throughput == made.throughput and old.edges == made.edges
    assert old.hubs == made.hubs  # without the answer
    assert old.routes == () and old.direct is None and old.scores == {}
    assert old.matched_rule == "boxed" and old.correct is None


@pytest.mark.parametrize(
    "change",
    [
        {"text": 7}, {"text": "short"}, {"ids": [1]}, {"ids": ["a"]}, {"ids": None}, {"roles": []},
        {"throughput": [math.nan]}, {"edges": [[0, 99_999, 0.1]]}, {"edges": [[0, 1]]}, {"hubs": [-1]},
        {"routes": [[[0, 10**9], 0.5]]}, {"provenance": {}}, {"provenance": 3}, {"offsets": [[0]]},
        {"scores": {"x": [1.0]}}, {"scores": []}, {"layer_throughput": [[0.0]]}, {"correct": 1},
        {"direct": "0.1"}, {"cut_off": "no"}, {"matched_rule": None},
    ],
)  # fmt: skip
def test_damage_is_noticed(made, change):
    with pytest.raises(TraceFileError):
        trace_from_json(json.loads(json.dumps(made.to_json())) | change)


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", None, True])
def test_scores_that_are_no_finite_numbers_are_noticed(made, value):
    data = json.loads(json.dumps(made.to_json()))
    data["inflow"][3] = value
    with pytest.raises(TraceFileError, match="not a finite number"):
        trace_from_json(data)


def test_every_part_is_needed(made):
    data = made.to_json()
    for key in data.keys() - {"pictures"}:  # files from before there were any have none
        with pytest.raises(TraceFileError):
            trace_from_json({name: value for name, value in data.items() if name != key})


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "t"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["t"]


def test_two_writers_at_once_leave_one_whole_file(made, tmp_path):
    path = tmp_path / "t.json"
    threads = [threading.Thread(target=made.save, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load_trace(path) == made
    assert [file.name for file in tmp_path.iterdir()] == ["t.json"]


def test_tokens_that_share_a_character_are_shown_as_one():
    made = made_trace(["q"], ["a", "🙂", "9"], answer=-1)
    split = made.to_json() | {
        "text": "qa🙂9",
        "ids": [0, 1, 2, 3, 4, 5],
        "offsets": [(0, 1), (1, 2), (2, 3), (2, 3), (2, 3), (3, 4)],
        "roles": ["user", "response", "response", "response", "response", "answer"],
        "edges": [], "routes": [], "hubs": [],
    }  # fmt: skip
    for name in ("answer_weights", "potential", "inflow", "throughput"):
        split[name] = [0.0] * 6
    units = trace_from_json(split).units
    assert [(unit.first, unit.last, unit.text) for unit in units] == [
        (0, 0, "q"), (1, 1, "a"), (2, 4, "🙂"), (5, 5, "9"),
    ]  # fmt: skip


def test_the_backbone_is_the_top_of_the_response_only(made):
    start = made.response_start
    count = len(made.ids) - start
    best = sorted(range(start, len(made.ids)), key=lambda i: (-made.throughput[i], i))
    chosen = [i for i in best[: math.ceil(0.4 * count)] if made.throughput[i] > 0]
    assert made.backbone() == tuple(sorted(chosen))


@pytest.mark.parametrize(
    "change",
    [
        {"inflow": [10**400] * 36}, {"potential": [-1.0] * 36}, {"edges": [[0, 1, 0.0]]},
        {"ids": [10**400]}, {"offsets": [["\ud800", 1]]},
    ],
)  # fmt: skip
def test_odd_numbers_and_texts_are_one_sentence(made, change, tmp_path):
    (tmp_path / "t.json").write_text(json.dumps(json.loads(json.dumps(made.to_json())) | change))
    with pytest.raises(TraceFileError, match=r"t\.json: is damaged: ") as caught:
        load_trace(tmp_path / "t.json")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("change", [{"versions": []}, {"layers": []}, {"model": 3}])
def test_a_damaged_provenance_is_one_sentence(made, change):
    data = json.loads(json.dumps(made.to_json()))
    data["provenance"] |= change
    with pytest.raises(TraceFileError, match="is damaged: "):
        trace_from_json(data)


def test_lone_surrogates_come_back_and_can_be_shown(made, tmp_path):
    data = json.loads(json.dumps(made.to_json()))
    data["provenance"]["model"] = "m\ud800"
    data["text"] = "\udfff" + data["text"][1:]
    (tmp_path / "t.json").write_text(json.dumps(data))
    again = load_trace(tmp_path / "t.json")
    save_page(again, tmp_path / "t.html")
    assert "‹U+D800›" in (tmp_path / "t.html").read_text(encoding="utf-8")
    save_figures(again, tmp_path, formats=("svg",))
    assert "<svg" in (tmp_path / "graph.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changes",
    [
        {"roles": ["response", "user", "response", "user", "answer"]},
        {"edges": [[4, 0, 0.5]]},
        {"edges": [[2, 2, 0.5]]},
        {"routes": [[[], 0.5]]},
        {"routes": [[[3, 1], 0.5]]},
        {"hubs": [3, 2]},
        {"hubs": [3, 3]},
        {"throughput": [1e308] * 5},
    ],
)
def test_what_no_trace_can_say_is_damage(changes):
    """Numbers without a finite sum would make a page that cannot be read."""
    data = json.loads(json.dumps(made_trace(["a", "b"], ["c", "d", "e"]).to_json()))
    assert trace_from_json(data)
    with pytest.raises(TraceFileError, match="is damaged"):
        trace_from_json(data | changes)

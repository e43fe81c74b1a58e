"""The one reader of JSON Lines: what it yields, and the sentence for each kind of damage."""

import pytest

from flowtracer.records import (
    ANY,
    check_kind,
    first_field,
    parse_record,
    read_lines,
    read_records,
)

DAMAGED = {
    "is not JSON": b'{"prompt": "cut of',
    "is not a JSON object": b"[1, 2]",
    "is not UTF-8 text": b'{"prompt": "\xff"}',
    "is not JSON: maximum recursion": b"[" * 100_000,
}


@pytest.mark.parametrize(("reason", "line"), DAMAGED.items())
def test_a_damaged_line_is_one_sentence_with_file_and_line(tmp_path, reason, line):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 0}\n\n' + line + b"\n")
    records = read_records(path)
    assert next(records) == (f"{path}, line 1", {"n": 0})
    with pytest.raises(ValueError) as caught:
        next(records)
    assert str(caught.value).startswith(f"{path}, line 3: {reason}")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"^{reason}"):
        parse_record(line)


def test_line_separators_of_unicode_stay_inside_their_record(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a\u2028b\x85c"}\r\n{"n": 1}', encoding="utf-8")
    assert [record for _, record in read_records(path)] == [{"text": "a\u2028b\x85c"}, {"n": 1}]


def test_lines_tell_where_they_begin_so_that_reading_can_start_there(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\n{"n": 0}\n  \n{"n": 1}')
    lines = list(read_lines(path))
    assert lines == [(2, 1, b'{"n": 0}\n'), (4, 13, b'{"n": 1}')]
    assert list(read_lines(path, 13)) == [(1, 13, b'{"n": 1}')]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(ValueError, match=f"{path}: cannot be read: "):
            list(read_records(path))


def test_the_first_field_with_a_value_counts():
    record = {"prompt": None, "question": "", "problem": "x"}
    assert first_field(record, ("prompt", "question", "problem")) == ""
    assert first_field(record, ("prompt",)) is None


CONDITION = {"scorer": str, "drop?": float, "answer?": str | None}
ROW = {"problem": int, "texts": [{"conditions": [CONDITION]}], "scores": {ANY: [float]}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": True}, "problem is True"),
        ({"problem": 10**400}, "problem is 1000"),
        ({"texts": {}}, "texts is {}"),
        ({"texts": [{}]}, "texts has no conditions"),
        ({"texts": [{"conditions": [{"scorer": "a", "drop": "1"}]}]}, "drop is '1'"),
        ({"texts": [{"conditions": [{"scorer": None}]}]}, "scorer is None"),
        ({"scores": {"flow": [0.5, None]}}, "scores is None"),
        ({"scores": [1.0]}, r"scores is \[1.0\]"),
    ],
)
def test_a_value_of_another_kind_is_named(change, message):
    conditions = [{"scorer": "flow", "drop": 1, "answer": None, "more": []}, {"scorer": "random"}]
    row = {"problem": 3, "texts": [{"conditions": conditions}], "scores": {"flow": [0.5, 1]}}
    check_kind(row, ROW, "the row")
    with pytest.raises(ValueError, match=f"^{message}"):
        check_kind(row | change, ROW, "the row")


def test_half_a_character_is_refused():
    assert parse_record(b'{"text": "\\ud83d\\ude00"}') == {"text": "\U0001f600"}
    with pytest.raises(ValueError, match="holds half a character"):
        parse_record(b'{"text": ["\\ud83d"]}')


def test_a_line_without_end_is_cut_and_refused(tmp_path):
    longest = 1 << 20
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        file.write(b'{"n": 0}\n"' + b"x" * (5 << 20) + b'"\n{"n": 1}\n')
    first, huge, last = read_lines(path, longest=longest)
    assert (first[2], last[0], last[2]) == (b'{"n": 0}\n', 3, b'{"n": 1}\n')
    assert len(huge[2]) == longest + 1
    assert next(read_lines(path, last[1]))[2] == b'{"n": 1}\n'
    with pytest.raises(ValueError, match="is longer than 1 MiB"):
        parse_record(huge[2], longest=longest)

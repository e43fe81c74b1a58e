"""Rows of a JSON Lines file: what of them is the right answer."""

import json

import pytest

from flowtracer.cli.trace_input import text_to_trace


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        ({}, None),
        ({"answer": "4"}, "4"),
        ({"gold": 4}, "4"),
        ({"answer": "4", "ground_truth": "4"}, "4"),
        ({"answer": "5", "ground_truth": "4"}, None),
        ({"answer": "4", "gold": ["4"]}, None),
        ({"answer": 3, "choices": ["1", "2", "3", "4"]}, None),
        ({"answer": ["4"]}, None),
        ({"answer": True}, None),
        ({"answer": float("nan")}, None),
        ({"answer": float("inf")}, None),
        ({"answer": None, "gold": "4"}, "4"),
    ],
)
def test_a_reference_is_taken_only_where_a_row_has_one(tmp_path, fields, reference):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"prompt": "What is 2 + 2?", "response": "4"} | fields))
    text = text_to_trace(
        model="embedded", problem=None, prompt_file=None, response_file=None, jsonl=path, row=0
    )
    assert text.reference == reference

"""A scorer that takes ids alone refuses those that stand for a picture."""

import pytest

pytest.importorskip("PIL", reason="needs the extra flowtracer[vision]")
from helpers.processors import PROCESSORS, small_model

from flowtracer import Scorer


def test_ids_that_stand_for_a_picture_are_refused_and_texts_are_scored(tmp_path):
    small_model("gemma3").save_pretrained(tmp_path)
    PROCESSORS["gemma3"]().save_pretrained(tmp_path)
    scorer = Scorer(str(tmp_path))
    with pytest.raises(ValueError, match=r"input_ids\[0\] holds 7, which stands for a picture"):
        scorer.weights([[3, 42, 5, 7, 7, 7, 7, 6, 18, 19]], [8])
    weights = scorer.weights([[3, 42, 18, 19, 10, 11, 12, 14]], [4]).weights
    assert [len(row) for row in weights] == [8]

"""The table of pairs: what counts as the same answer."""

import sys
from pathlib import Path

import pytest

math_verify = pytest.importorskip("math_verify", reason="flowtracer[train] is not installed")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import graders  # noqa: E402

PAIRS = graders.read_pairs()
KNOWN = {  # what both get wrong, named in results/graders
    (r"0.56 = 56\%", "0.56"),
    (r"0.56 = 56\%", r"56\%"),
    (r"\frac{1}{2a}(\exp{a*t} - \exp{-a*t})", r"\frac{\sinh(at)}{a}"),
    (r"\emptyset", r"\varnothing"),
    (r"\sqrt{2}/2", r"\sin 45^\circ"),
}


def wrong(pairs, compare):
    return {(pair.reference, pair.answer) for pair in graders.score(pairs, compare)[0]}


def test_the_table_is_large_and_has_both_sides():
    assert len({(pair.reference, pair.answer, str(pair.options)) for pair in PAIRS}) == len(PAIRS)
    assert min(sum(pair.equal == side for pair in PAIRS) for side in (True, False)) > 400


def test_the_rules_alone_never_take_different_answers_for_equal():
    different = [pair for pair in PAIRS if not pair.equal]
    assert wrong(different, graders.rules_alone) == set()


def test_every_tenth_pair_is_right():
    assert wrong(PAIRS[::10], graders.both) <= KNOWN


@pytest.mark.slow
def test_every_pair_is_right_but_the_known_ones():
    assert wrong(PAIRS, graders.both) == KNOWN


@pytest.mark.slow
def test_the_published_table_is_what_the_script_measures(tmp_path):
    graders.write(PAIRS, tmp_path)
    published, measured = (
        [
            [cell for number, cell in enumerate(line.split("|")) if number != 5 or "ms" in line]
            for line in (folder / "README.md").read_text(encoding="utf-8").splitlines()
        ]
        for folder in (graders.ROOT / "results" / "graders", tmp_path)
    )
    assert published == measured

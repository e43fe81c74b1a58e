"""Static figures and terminal text: deterministic, complete, and safe with any token."""

import sys
import xml.etree.ElementTree as ElementTree
from io import StringIO

import pytest
from helpers.traces import HOSTILE, made_trace
from rich.console import Console

from flowtracer.render.cloud import piece_counts, word_cloud
from flowtracer.render.colours import colour, full_scale, ink, strength
from flowtracer.render.figures import COLUMNS, mean_percentiles, save_figures, token_graph
from flowtracer.render.terminal import show
from flowtracer.render.visible import one_line, visible


@pytest.fixture(scope="module")
def hostile():
    return made_trace(["user: ", *HOSTILE], ["so ", *HOSTILE, "$x_1$", "\n", "42", "."], answer=-2)


@pytest.mark.filterwarnings("error")
def test_figures_are_the_same_bytes_every_time(hostile, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        save_figures(hostile, folder)
    names = sorted(path.name for path in first.iterdir())
    assert names == ["bars.png", "bars.svg", "graph.png", "graph.svg"]
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()
        assert (first / name).stat().st_size > 2000
    ElementTree.parse(first / "graph.svg")


def test_the_graph_shows_every_piece_of_a_short_text():
    made = made_trace(["What ", "is ", "it", "?"], ["It ", "is ", "42", "."], answer=2)
    texts = [text.get_text() for text in token_graph(made).axes[0].texts]
    assert texts == ["What ", "is ", "it", "?", "It ", "is ", "42", "."]


def test_long_texts_and_long_tokens_stay_inside_the_figure(tmp_path):
    made = made_trace(["q" * 500, "?"], ["word "] * 1500 + ["\n", "9"], answer=-1)
    figure = token_graph(made)
    assert all(
        text.get_position()[0] + len(text.get_text()) <= COLUMNS for text in figure.axes[0].texts
    )
    assert "last 50 of" in figure.axes[0].get_title(loc="left")
    save_figures(made, tmp_path, formats=("png",))


def test_percentiles_are_means_over_equal_pieces():
    made = made_trace(["q"], ["a", "b", "a", "c", "9"], answer=-1, seed=3)
    scores = made.throughput[1:5]
    slow = {}
    for text in "abc":
        ranks = [
            100
            * sum((other < s) + (other == s) / 2 for j, other in enumerate(scores) if j != i)
            / 3
            for i, s in enumerate(scores)
            if made.token_text(i + 1) == text
        ]
        slow[text] = (pytest.approx(sum(ranks) / len(ranks)), len(ranks))
    assert mean_percentiles(made) == slow


def test_terminal_text_shows_every_piece_and_no_control_character(hostile):
    out = StringIO()
    show(hostile, Console(file=out, width=100, force_terminal=False))
    shown = out.getvalue()
    for unit in hostile.units:
        if unit.text.isprintable() and unit.text.strip() and " " not in unit.text:
            assert unit.text in shown.replace("\n", "")
    assert not {c for c in shown if c < " " and c not in "\n"}
    assert "hubs where" in shown


def test_hostile_markup_is_not_markup_in_the_terminal():
    made = made_trace(["[red]q[/red]"], ["[/]", "[link=x]", "9"], answer=-1)
    out = StringIO()
    show(made, Console(file=out, width=100, force_terminal=False))
    assert "[red]q[/red][/][link=x]9" in out.getvalue()


def test_the_word_cloud_counts_the_highest_and_lowest_pieces(hostile, tmp_path):
    pytest.importorskip("wordcloud")
    made = made_trace(["q"], [*"abcdefghij", "9"], answer=-1, seed=1)
    ranked = sorted(range(1, 11), key=lambda i: made.throughput[i])
    low, high = ({made.token_text(i): 1 for i in part} for part in (ranked[:4], ranked[-4:]))
    assert piece_counts(made, highest=True) == high
    assert piece_counts(made, highest=False) == low
    for name in "ab":
        (tmp_path / name).mkdir()
        save_figures(hostile, tmp_path / name, formats=("png",), cloud=True)
    assert (tmp_path / "a" / "cloud.png").read_bytes() == (
        tmp_path / "b" / "cloud.png"
    ).read_bytes()


def test_without_the_package_the_word_cloud_says_what_to_install(hostile, monkeypatch):
    monkeypatch.setitem(sys.modules, "wordcloud", None)
    with pytest.raises(ValueError, match="flowtracer\\[wordcloud\\]"):
        word_cloud(hostile)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb", "a⏎\nb"), ("\t", "⇥\t"), ("\x00", "␀"), ("\x7f", "␡"), ("\r", "␍"),
        ("\u202e", "‹U+202E›"), ("\u200d", "‹U+200D›"), ("👩\u200d🚀", "👩\u200d🚀"), (" é½", " é½"),
        ("\ud800", "‹U+D800›"), ("\x85", "‹U+0085›"),
    ],
)  # fmt: skip
def test_invisible_characters_are_spelt_out(text, expected):
    assert visible(text) == expected
    assert "\n" not in one_line(text)


def test_the_scale_is_monotone_and_readable():
    assert full_scale([0.0, 0.0], [True, True]) == 1.0
    assert full_scale([0.1] * 99 + [50.0], [True] * 100) == 0.1
    assert strength(0.0, 1.0) == 0.0 and strength(9.0, 1.0) == 1.0
    light = [sum(int(colour(i / 50)[k : k + 2], 16) for k in (1, 3, 5)) for i in range(51)]
    assert light == sorted(light, reverse=True)
    assert ink(colour(0.0)) == "#000000" and ink(colour(1.0)) == "#ffffff"

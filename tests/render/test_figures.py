"""Static figures and terminal text: deterministic, complete, and safe with any token."""

import re
import sys
import xml.etree.ElementTree as ElementTree
from io import StringIO
from itertools import combinations

import matplotlib
import pytest
from helpers.traces import HOSTILE, made_trace
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console

from flowtracer.render.bars import percentiles
from flowtracer.render.cloud import piece_counts, word_cloud
from flowtracer.render.colours import colour, full_scale, ink, levels, strength
from flowtracer.render.figures import SETTINGS, ranked_bars, save_figures, token_graph
from flowtracer.render.graph import ADVANCE
from flowtracer.render.lines import lay_out, shorten
from flowtracer.render.terminal import show
from flowtracer.render.visible import one_line, visible


@pytest.fixture(scope="module")
def hostile():
    return made_trace(
        ["user: ", *HOSTILE], ["so ", *HOSTILE * 3, "$x_1$", "\n", "42", "."], answer=-2
    )


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


def drawn(figure):
    FigureCanvasAgg(figure).draw()
    return figure


def shown(figure):
    """The texts of the graph, by position from the top."""
    texts = sorted(figure.axes[0].texts, key=lambda text: -text.get_position()[1])
    return [text.get_text() for text in texts]


def long_trace():
    prompt = [f" ask{number}" for number in range(300)]
    response = [f" say{number}" for number in range(1500)]
    return made_trace([*prompt, "?"], ["q" * 200, *response, "\n", "9"], answer=-1)


def test_the_graph_shows_every_piece_of_a_short_text_and_explains_itself():
    made = made_trace(["What ", "is ", "it", "?"], ["It ", "is ", "42", "."], answer=2)
    figure = drawn(token_graph(made))
    texts = shown(figure)
    assert texts[0] == "Flow from the prompt to the answer"
    joined = "".join(texts)
    places = [joined.index(text) for text in ("Prompt", "What is it?", "Response", "It is ", "42")]
    assert places == sorted(places)
    assert "throughput: part of the flow" in joined and "≥ " in joined and "the answer" in joined
    parts = {part.get_gid(): part for part in figure.axes[0].collections}
    assert len(parts["answer"].get_paths()) == 1
    assert len(parts["colour-bar"].get_facecolors()) > 20


def test_a_long_text_keeps_its_prompt_and_says_what_it_is_without():
    figure = drawn(token_graph(long_trace()))
    texts = shown(figure)
    joined = " ".join(texts)
    response = texts.index("Response")
    assert "ask0 " in texts[3] + " " and "ask299" in " ".join(texts[:response])
    assert "say1499" in joined and "say700" not in joined
    notes = [text for text in texts if "not shown" in text]
    assert len(notes) == 2 and all(
        re.search(r"\d+ lines \([\d,]+ tokens\)", text) for text in notes
    )
    width, height = figure.get_size_inches()
    assert width <= 3.5 and height < 9  # a column of a page


@pytest.mark.parametrize("width", [3.4, 7.0])
def test_nothing_is_outside_the_graph_or_over_anything_else(hostile, width):
    for made in (hostile, long_trace()):
        figure = drawn(token_graph(made, width=width))
        boxes = [(text.get_text(), text.get_window_extent()) for text in figure.axes[0].texts]
        for text, box in boxes:
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0, text
            assert box.y1 <= figure.bbox.y1, text
        for (text, box), (other, another) in combinations(boxes, 2):
            across = min(box.x1, another.x1) - max(box.x0, another.x0)
            down = min(box.y1, another.y1) - max(box.y0, another.y0)
            assert across < 4 or down < 4, f"{text!r} lies over {other!r}"


def test_arcs_are_beside_the_text():
    made = long_trace()
    figure = drawn(token_graph(made))
    (arcs,) = [part for part in figure.axes[0].collections if part.get_gid() == "arcs"]
    left = arcs.get_window_extent().x0
    words = [text for text in figure.axes[0].texts if re.search("say|ask", text.get_text())]
    assert len(words) > 20
    assert all(text.get_window_extent().x1 <= left for text in words)


def test_letters_stand_on_their_boxes():
    """A run of text is as wide as its characters' boxes, so that nothing drifts."""
    made = made_trace(["a" * 20, "b" * 20], ["c" * 40, "\n", "9"], answer=-1)
    with matplotlib.rc_context(SETTINGS):
        figure = token_graph(made)
        figure.set_dpi(300)
        drawn(figure)
        run = next(text for text in figure.axes[0].texts if text.get_text() == "c" * 40)
        width = run.get_window_extent().width / 300 * 72
    assert width == pytest.approx(40 * ADVANCE, abs=0.8)


def test_words_are_kept_together_and_every_token_has_a_line():
    units = made_trace(["one", " two", " thr", "ee", "."], ["\n\n", "x" * 25, "9"]).units
    lines = lay_out(units, 10)
    texts = ["".join(piece.text for piece in line.pieces) for line in lines]
    assert texts == ["one two", "three.⏎⏎", "x" * 10, "x" * 10, "x" * 5 + "9"]
    assert {token for line in lines for token in line.tokens} == set(range(8))
    assert all(0 < sum(len(p.text) for p in line.pieces) <= 10 for line in lines)
    short = shorten(lines, 3)
    assert len(short) == 3 and short[1].left_out == 3 and short[0] == lines[0]
    assert {token for line in short for token in line.tokens} == set(range(8))


def test_pieces_are_ranked_if_they_occur_often_enough():
    made = made_trace(["q"], [*"abcabcabcd", "9"], answer=-1)
    names = [label.get_text() for label in drawn(ranked_bars(made)).axes[0].get_yticklabels()]
    assert sorted(names) == ["a ×3", "b ×3", "c ×3"]
    assert ranked_bars(made_trace(["q"], [*"abcd", "9"], answer=-1)) is None


def test_percentiles_are_those_among_the_other_pieces():
    made = made_trace(["q"], ["a", "b", "a", "c", "9"], answer=-1, seed=3)
    scores = made.throughput[1:5]
    slow = {}
    for text in "abc":
        slow[text] = [
            pytest.approx(
                100
                * sum((other < s) + (other == s) / 2 for j, other in enumerate(scores) if j != i)
                / 3
            )
            for i, s in enumerate(scores)
            if made.token_text(i + 1) == text
        ]
    assert percentiles(made) == slow


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
    # The prompt's scale begins at its lowest score, the answer is marked and not coloured.
    roles = ("template", "user", "user", "response", "response", "answer")
    shown = levels([0.1, 0.2, 0.5, 0.01, 0.04, 2.0], roles)
    assert shown == pytest.approx([0.0, 0.5, 1.0, 0.5, 1.0, 0.0])
    assert levels([0.1, 0.1, 0.0], ("user", "user", "answer")) == [1.0, 1.0, 0.0]
    light = [sum(int(colour(i / 50)[k : k + 2], 16) for k in (1, 3, 5)) for i in range(51)]
    assert light == sorted(light, reverse=True)
    assert ink(colour(0.0)) == "#000000" and ink(colour(1.0)) == "#ffffff"

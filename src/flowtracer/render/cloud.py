"""Word clouds of high- and low-flow pieces (the paper's figure 3); needs `flowtracer[wordcloud]`.

A cloud shows counts badly: `ranked_bars` says the same with numbers.
"""

from collections import Counter
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from flowtracer.flow import BACKBONE_RATIO
from flowtracer.render.font import PRINTED_FONT, printable
from flowtracer.render.visible import one_line

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace

SEED = 0


def word_cloud(trace: "Trace") -> Figure:
    """Two clouds: pieces by how often they are among the top, and the bottom, 40% of the response.

    Raises ValueError with what to install if the package wordcloud is missing.
    """
    try:
        from wordcloud import WordCloud
    except ImportError:
        raise ValueError(
            "word clouds need one more package: pip install 'flowtracer[wordcloud]'"
        ) from None
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    clouds = {"high-flow": ("cividis", True), "low-flow": ("copper", False)}
    for axes, (title, (tint, highest)) in zip(figure.subplots(1, 2), clouds.items(), strict=True):
        counts = piece_counts(trace, highest=highest)
        if counts:
            cloud = WordCloud(
                width=900, height=560, background_color="white", colormap=tint, random_state=SEED,
                font_path=PRINTED_FONT, prefer_horizontal=1.0, relative_scaling=0.5,
            )  # fmt: skip
            axes.imshow(cloud.generate_from_frequencies(counts).to_array())
        axes.set_title(f"{title} pieces of the response", fontsize=9, loc="left")
        axes.set_axis_off()
    return figure


def piece_counts(trace: "Trace", *, highest: bool) -> dict[str, int]:
    """How often each text is among the 40% of the response with the most (least) throughput.

    The answer and what follows it are left out, as in `percentiles`.
    """
    last = max((i for i, role in enumerate(trace.roles) if role == "answer"), default=0)
    tokens = [i for i, role in enumerate(trace.roles) if role == "response" and i < last]
    tokens.sort(key=lambda i: (trace.throughput[i], i), reverse=highest)
    chosen = tokens[: round(BACKBONE_RATIO * len(tokens))]
    return dict(Counter(printable(one_line(trace.token_text(i))).strip() or "␣" for i in chosen))

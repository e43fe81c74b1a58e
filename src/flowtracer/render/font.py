"""The font of printed figures, and text reduced to what it can show."""

from matplotlib.font_manager import FontProperties, findfont, get_font

FONT = FontProperties(family="DejaVu Sans Mono")

PRINTED_FONT = findfont(FONT)


def printable(text: str) -> str:
    """The text with characters that the figure's font lacks replaced by a box."""
    known = get_font(PRINTED_FONT).get_charmap()
    return "".join(c if c == "\n" or ord(c) in known else "□" for c in text)

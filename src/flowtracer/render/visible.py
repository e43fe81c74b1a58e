"""Make every character of a token visible, and harmless to the text around it."""

import unicodedata

_MARKS = {"\n": "⏎\n", "\r": "␍", "\t": "⇥\t", "\x7f": "␡"}


def visible(text: str) -> str:
    """The text with line breaks marked and kept, and invisible characters spelt out.

    Control characters become their pictures (NUL is ␀). Characters that have no width or change the
    direction of their surroundings become their code point, as in ‹U+202E›.
    """
    joined = len(text) > 1  # a joiner inside a token belongs to its emoji
    return "".join(
        character if joined and character == "\u200d" else _mark(character) for character in text
    )


def one_line(text: str) -> str:
    """`visible` without line breaks or tabs, for tables and labels; a blank becomes ␣."""
    if text and not text.strip(" "):
        return "␣" * len(text)
    return visible(text).replace("⏎\n", "⏎").replace("⇥\t", "⇥")


def _mark(character: str) -> str:
    if character in _MARKS:
        return _MARKS[character]
    if character < " ":
        return chr(0x2400 + ord(character))
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return f"‹U+{ord(character):04X}›"
    return character

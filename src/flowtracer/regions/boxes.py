r"""Answers in `\boxed{}`: the content, its line, or the paragraph that the box closes."""

import re

from flowtracer.regions.spans import Span, trimmed

_BOX = re.compile(r"\\boxed\s*\{")
_BOX_OR_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)


def last_box(text: str) -> list[Span]:
    r"""Content of the last `\boxed{...}` whose braces balance; `\{` and `\}` do not count."""
    box = _last_balanced_box(text)
    return trimmed(text, box[1], box[2]) if box else []


def line_of_box(text: str) -> list[Span]:
    """The complete line (or lines) that the box is on."""
    box = _last_balanced_box(text)
    if not box:
        return []
    stop = text.find("\n", box[2])
    return trimmed(text, text.rfind("\n", 0, box[0]) + 1, len(text) if stop < 0 else stop)


def explained_box(text: str) -> list[Span]:
    """The paragraph that the box closes: the answer with its explanation (our reading)."""
    box = _last_balanced_box(text)
    if not box:
        return []
    stop = text.find("\n", box[2])
    start = text.rfind("\n\n", 0, box[0])
    return trimmed(text, 0 if start < 0 else start + 2, len(text) if stop < 0 else stop)


def _last_balanced_box(text: str) -> tuple[int, int, int] | None:
    """Start of the box, start of its content, end of its content.

    Almost always the last box is the one; only where it is open or blank, the entire text is read.
    """
    start = text.rfind("\\boxed")
    while start >= 0:
        before = start - 1
        while before >= 0 and text[before] == "\\":
            before -= 1
        opened = (start - before) % 2 and _BOX.match(text, start)
        if opened:
            stop = _closing_brace(text, opened.end())
            if stop is not None and text[opened.end() : stop].strip():
                return start, opened.end(), stop
            return _search_balanced_box(text)
        start = text.rfind("\\boxed", 0, start)
    return None


def _closing_brace(text: str, start: int) -> int | None:
    """Where the brace that was opened before `start` is closed."""
    depth = 1
    for match in _BOX_OR_BRACE.finditer(text, start):
        token = match.group()
        depth += (token[-1] == "{" and token != "\\{") - (token == "}")
        if not depth:
            return match.start()
    return None


def _search_balanced_box(text: str) -> tuple[int, int, int] | None:
    """The last box that is closed and not blank; one pass over the text."""
    open_braces: list[tuple[int, int] | None] = []  # box start and content start, None: plain brace
    best: tuple[int, int, int] | None = None
    for match in _BOX_OR_BRACE.finditer(text):
        token = match.group()
        if token.startswith("\\boxed"):
            open_braces.append((match.start(), match.end()))
        elif token == "{":
            open_braces.append(None)
        elif token == "}" and open_braces:
            box = open_braces.pop()
            later = box and (best is None or box[0] > best[0])
            if box and later and text[box[1] : match.start()].strip():
                best = (*box, match.start())
    return best

"""A griffe extension: docstrings of this package as sections that the site shows as tables.

Docstrings here say `name: what it is` in a paragraph of its own. Such paragraphs about parameters become an
"Args" section, those about a class's fields an "Attributes" section; nothing else is changed.
"""

import re
from typing import Any

from griffe import Class, Extension, Function, Object

ITEM = re.compile(r"(\w+(?:, \w+)*): (.*)")
SECTION = re.compile(r"(Args|Attributes|Raises|Returns):$", re.MULTILINE)


class NamedParagraphs(Extension):
    """Turns paragraphs that begin with the name of a parameter or field into a section."""

    def on_function(self, *, func: Function, **kwargs: Any) -> None:
        _rewrite(func, {parameter.name for parameter in func.parameters}, "Args")

    def on_class(self, *, cls: Class, **kwargs: Any) -> None:
        fields = {name for name, member in cls.members.items() if member.is_attribute}
        _rewrite(cls, fields, "Attributes")


def _rewrite(item: Object, names: set[str], title: str) -> None:
    if item.docstring and names and not SECTION.search(item.docstring.value):
        item.docstring.value = with_section(item.docstring.value, names, title)


def with_section(text: str, names: set[str], title: str) -> str:
    """The docstring with its lines about `names` gathered into a section at the place of the first."""
    kept: list[str] = []
    section: list[str] = []
    position: int | None = None
    inside = False
    for line in text.splitlines():
        match = ITEM.match(line)
        if match and set(match[1].split(", ")) <= names:
            position = len(kept) if position is None else position
            section.append(f"    {match[1]}: {match[2]}")
            inside = True
        elif inside and line.strip():
            section.append(f"        {line.strip()}")
        else:
            inside = False
            kept.append(line)
    if position is None:
        return text
    return "\n".join([*kept[:position], "", f"{title}:", *section, "", *kept[position:]])

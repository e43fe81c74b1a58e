"""Files damaged at random: bytes changed, cut or added, and values of JSON replaced by odd ones."""

import copy
import json
import random

ODD = [
    None, True, -1, 0, 1.5, 10**400, 1e308, -1e308, "", "x", "\ud800", "a\udfffb", "\x00", "9" * 50,
    "../..", "/etc/passwd", [], {}, [[]], [1], [None], {"a": 1}, float("nan"), float("inf"), "{{7*7}}",
]  # fmt: skip


def damaged(content: bytes, seed: int) -> bytes:
    """The file with one to four faults; a third of them in its bytes, the others in its values."""
    draw = random.Random(seed)
    lines = content.split(b"\n") if content.count(b"\n{") else [content]
    number = draw.randrange(len(lines))
    while not lines[number].strip():
        number = draw.randrange(len(lines))
    change = _bytes if draw.random() < 1 / 3 else _values
    lines[number] = change(lines[number], draw)
    return b"\n".join(lines)


def _bytes(content: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.2:
        return content[: draw.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 3, 20])):
        at, length = draw.randrange(len(changed)), draw.choice([0, 1, 1, 5])
        changed[at : at + length] = draw.randbytes(draw.choice([0, 1, 1, 4]))
    return bytes(changed)


def _values(content: bytes, draw: random.Random) -> bytes:
    root = [json.loads(content)]
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        places = list(_places(root))
        holder, key = draw.choice(places)
        if draw.random() < 0.8 or holder is root:
            holder[key] = copy.deepcopy(draw.choice(ODD))
        else:
            del holder[key]
    return json.dumps(root[0]).encode()


def _places(value):
    """(container, key) of every value inside."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in list(keys):
        yield value, key
        yield from _places(value[key])

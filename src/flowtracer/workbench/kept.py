"""What was used last, by key, as long as it fits into a number of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor


class Kept:
    """A cache bounded by the size of its values; threads may share it."""

    def __init__(self, most: int) -> None:
        """most: bytes."""
        self._most = most
        self._size = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """The value, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Any, size: int | None = None) -> None:
        """Keep a value; the oldest ones go. One that is larger than everything is not kept.

        size: in bytes; None: what `size_of` says.
        """
        size = size_of(value) if size is None else size
        with self._lock:
            self._size -= self._values.pop(key, (None, 0))[1]
            if size <= self._most:
                self._values[key] = value, size
                self._size += size
            while self._size > self._most:
                self._size -= self._values.popitem(last=False)[1][1]


def size_of(value: Any) -> int:
    """Bytes of the tensors in a value."""
    if isinstance(value, Tensor):
        return value.nbytes
    if is_dataclass(value):
        return sum(size_of(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, dict):
        return sum(map(size_of, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(size_of, value))
    return 0

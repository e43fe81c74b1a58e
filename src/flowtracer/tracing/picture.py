"""Where a picture is among the tokens of a trace."""

import re
from dataclasses import dataclass

DATA_URI = re.compile(r"(data:image/png;base64,[A-Za-z0-9+/]+={0,2})?")


@dataclass(frozen=True)
class Picture:
    """Tokens first..last of a prompt, which are the patches of a picture, row by row.

    rows, columns: of the grid; one row where it is not known. width, height: of the picture, in pixels; 0
    where it is not known. thumbnail: a small PNG as a data URI, or nothing. dropped: mean part of its
    tokens' attention that goes to later tokens of the same picture, for which the graph has no edges.
    """

    first: int
    last: int  # inclusive
    rows: int
    columns: int
    width: int = 0
    height: int = 0
    thumbnail: str = ""
    dropped: float = 0.0

    def __post_init__(self) -> None:
        if (
            not 0 <= self.first <= self.last
            or self.rows < 1
            or self.rows * self.columns != self.last - self.first + 1
        ):
            raise ValueError(f"picture at token {self.first} has tokens that are not its grid's")
        if not DATA_URI.fullmatch(self.thumbnail):
            raise ValueError(f"picture at token {self.first} has a thumbnail that is no PNG")

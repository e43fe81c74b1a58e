"""Records of JSON Lines files and the names that their fields go by."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROMPT_FIELDS = ("prompt", "messages", "question", "problem")


RESPONSE_FIELDS = ("response", "completion", "output")


def rows_of_file(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a JSON Lines file, each with "file, line n" for messages; blank lines do not count.

    Raises ValueError for a file that cannot be read or a line that is not a JSON object.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                if not isinstance(row, dict):
                    raise ValueError(
                        f"{path}, line {number}: is not a JSON object; repair or delete the line"
                    )
                yield f"{path}, line {number}", row
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not UTF-8 text; convert it first") from None

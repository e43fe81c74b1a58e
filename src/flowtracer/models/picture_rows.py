"""Which pictures of a batch belong to which of its rows, and how their tokens lie."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from flowtracer.models.decoder import unwrapped


def grids_of(model: nn.Module, values: Mapping[str, Any]) -> list[tuple[int, int]] | None:
    """Rows and columns of each picture's tokens, steps of a video one below the other. None: not said."""
    vision: Any = getattr(unwrapped(model).config, "vision_config", None)
    for name in ("image_grid_thw", "video_grid_thw"):
        if values.get(name) is not None:
            side = int(getattr(vision, "spatial_merge_size", 1))
            return [(t * (h // side), w // side) for t, h, w in values[name].tolist()]
    # Of Gemma 4: (x, y) of each patch, -1 where there is none.
    if values.get("image_position_ids") is not None:
        side = int(getattr(vision, "pooling_kernel_size", 1))
        sizes = (values["image_position_ids"].amax(1) + 1) // side
        return [(rows, columns) for columns, rows in sizes.tolist()]
    return None


def split_pictures(
    values: Mapping[str, Tensor],
    tokens: Sequence[int],
    rows: list[dict[str, Tensor]],
    each: Sequence[int] | None,
    numbers: Sequence[int] | None,
    tiles: Sequence[int] | None,
) -> None:
    """Give each row its pictures. tokens: of each row, how many stand for pictures. each: of each picture."""
    names = list(values)
    pixels = values[names[0]]
    grid = next((value for name, value in values.items() if name.endswith("_grid_thw")), None)
    by_row = grid is None and pixels.ndim > 4 and len(pixels) == len(rows)
    if by_row:  # of every row as many pictures as the row with the most, filled up with empty ones
        for row, count in enumerate(tokens):
            if count:
                rows[row] |= {name: value[row : row + 1] for name, value in values.items()}
        return
    sizes = [1] * len(pixels) if grid is None else grid.prod(-1).tolist()
    counts = list(numbers) if numbers is not None else _pictures_of_rows(tokens, len(sizes), each)
    if tiles is None and (len(counts) != len(rows) or sum(counts) != len(sizes)):
        raise ValueError(
            f"{len(sizes)} pictures came with {len(rows)} rows that have {sum(counts)}; give `images`, the "
            "pictures of each row, and `tiles` where a picture is cut into several"
        )
    start = begin = tile = 0
    for row, count in enumerate(counts):
        stop, end = start + count, begin + sum(sizes[start : start + count])
        last = tile + (count if tiles is None else tiles[row])
        for name, value in values.items():
            if name == names[0] and grid is not None:
                part = value[begin:end]
            elif tiles is not None and name in (
                "pixel_values",
                "pixel_attention_mask",
                "spatial_shapes",
            ):
                part = value[tile:last]
            else:
                part = value[start:stop]
            if count:
                rows[row][name] = part
        start, begin, tile = stop, end, last


def _pictures_of_rows(
    tokens: Sequence[int], pictures: int, each: Sequence[int] | None
) -> list[int]:
    """How many pictures each row has, by the number of tokens that stand for them."""
    if each is None:  # all have the same
        total = max(1, sum(tokens))
        counts = [count * pictures // total for count in tokens]
        fits = all(count * pictures % total == 0 for count in tokens)
    else:
        left, counts, fits = list(each), [], True
        for count in tokens:
            number = 0
            while count > 0 and left:
                count -= left.pop(0)
                number += 1
            fits &= count == 0
            counts.append(number)
    if not fits:
        raise ValueError(
            f"the rows hold {list(tokens)} tokens that stand for pictures, which are not those of "
            f"{pictures} pictures; pass ids and pictures of the same call of the processor"
        )
    return counts

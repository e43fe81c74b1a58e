"""Pictures in a traced prompt: how a processor sees them, and where their tokens are in the text."""

import base64
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flowtracer.flow.solve import AttentionRows
from flowtracer.models.picture_rows import grids_of
from flowtracer.models.pictures import picture_tokens
from flowtracer.regions import Prompt, TokenizedText, decode_with_offsets
from flowtracer.regions.prompts import Message, as_messages, render_template
from flowtracer.tracing.picture import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

THUMBNAIL = 256  # pixels of the longer side, our choice: some tens of kilobytes of PNG


@dataclass(frozen=True)
class Asked:
    """A prompt with pictures as the model gets it. processed: what the processor made beside the ids."""

    prompt: Prompt
    text: TokenizedText
    processed: Mapping[str, Any]
    images: tuple["Image", ...]


def ask_with_pictures(
    processor: Any,
    prompt: str | Sequence[Message],
    images: Sequence[Any],
    chat: bool | None = None,
) -> Asked:
    """The conversation with its pictures, up to where the model is to answer.

    images: pictures of PIL, or paths. They come in front of the first message of the user, unless the
    messages have parts for them ({"type": "image"}), in which case there must be as many.

    Raises ValueError, in one sentence, for whatever cannot be asked so.
    """
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise ValueError(
            f"{type(processor).__name__} is no processor of pictures; pass the model's processor "
            "(AutoProcessor.from_pretrained) in place of its tokenizer"
        )
    if chat is False:
        raise ValueError("pictures are asked about through the chat template; leave chat=False out")
    if isinstance(images, str) or not isinstance(images, Sequence):
        raise ValueError("images must be a list of paths or of pictures of PIL")
    opened = tuple(map(open_picture, images))
    messages = with_image_parts(prompt, len(opened))
    rendered = render_template(processor, messages)
    try:
        made = dict(processor(text=[rendered], images=list(opened), return_tensors="pt"))
    except (ValueError, TypeError, IndexError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"the processor does not take these pictures: {reason}") from error
    text = decode_with_offsets(processor.tokenizer, made["input_ids"][0].tolist())
    return Asked(Prompt(rendered, tuple(messages), has_template=True), text, made, opened)


def open_picture(image: Any) -> "Image":
    """A picture of PIL in RGB, turned as its EXIF data say, as transformers opens it.

    Raises ValueError for a file that is none, ImportError without Pillow.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            "pictures need the package Pillow; install it with `pip install 'flowtracer[vision]'`"
        ) from error
    if isinstance(image, Image.Image):
        return ImageOps.exif_transpose(image).convert("RGB")
    if not isinstance(image, str | os.PathLike):
        raise ValueError(f"images holds a {type(image).__name__}; give paths or pictures of PIL")
    try:
        with Image.open(image) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except UnidentifiedImageError:
        raise ValueError(f"{image}: is not a picture") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{image}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def with_image_parts(prompt: str | Sequence[Message], count: int) -> list[Message]:
    """Messages whose content is lists of parts, with an image part for each of `count` pictures."""
    messages = [{**message} for message in as_messages(prompt)]
    for message in messages:
        if isinstance(message.get("content"), str):
            message["content"] = [{"type": "text", "text": message["content"]}]
    parts = [part for message in messages for part in message.get("content") or ()]
    image_parts = sum(part.get("type") == "image" for part in parts if isinstance(part, dict))
    if image_parts == 0:
        users = [message for message in messages if message.get("role") == "user"]
        if not users:
            raise ValueError(
                "the conversation has no message of the user to put the pictures in; add one"
            )
        users[0]["content"] = [*[{"type": "image"}] * count, *(users[0].get("content") or ())]
    elif image_parts != count:
        raise ValueError(
            f"{count} pictures came with a conversation that has {image_parts} image parts; give as many"
        )
    return messages


def find_pictures(
    model: nn.Module, asked: Asked, attention: Tensor | AttentionRows
) -> tuple[Picture, ...]:
    """The pictures of a traced prompt. attention: (1, T, T), of which nothing is read if it is in tiles."""
    inside = torch.tensor(asked.text.ids) == picture_tokens(model)["image"]
    grids = grids_of(model, asked.processed) or []
    runs = _runs(inside, [rows * columns for rows, columns in grids])
    if len(runs) > len(asked.images):
        joined = _joined_rows(runs, asked.text.ids)
        if len(joined) == len(asked.images):
            runs = [(first, last) for first, last, _ in joined]
            grids = [(rows, (last - first + 1) // rows) for first, last, rows in joined]
    known = len(runs) == len(asked.images)
    pictures = []
    for number, (first, last) in enumerate(runs):
        count = last - first + 1
        side = math.isqrt(count)
        rows, columns = (side, side) if side * side == count else (1, count)
        if number < len(grids) and grids[number][0] * grids[number][1] == count:
            rows, columns = grids[number]
        image = asked.images[number] if known else None
        width, height = image.size if image else (0, 0)
        small = thumbnail(image) if image else ""
        dropped = _dropped(attention, first, last)
        pictures.append(Picture(first, last, rows, columns, width, height, small, dropped))
    return tuple(pictures)


def thumbnail(image: "Image") -> str:
    """A small PNG of a picture as a data URI."""
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small.info.clear()  # EXIF data (where a photograph was taken), colour profiles, transparency
    written = io.BytesIO()
    small.quantize(64).save(written, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()


def _runs(inside: Tensor, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """First and last token of each picture: of so many tokens where known, else of each unbroken run."""
    numbers = inside.nonzero()[:, 0].tolist()
    if sizes and sum(sizes) == len(numbers):
        runs = []
        for size in sizes:
            runs.append((numbers[0], numbers[size - 1]))
            numbers = numbers[size:]
        return runs
    runs = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _joined_rows(runs: Sequence[tuple[int, int]], ids: Sequence[int]) -> list[tuple[int, int, int]]:
    """First and last token and rows of pictures whose rows end in a token of their own (Mistral 3).

    That token counts as the last column. After the last row stands another one, which ends the picture.
    """
    pictures: list[list[tuple[int, int]]] = []
    for first, last in runs:
        rows = pictures[-1] if pictures else [(-1, -1)]
        above = rows[-1]
        follows = first == above[1] + 2 and last - first == above[1] - above[0]
        if pictures and follows and ids[above[1] + 1] == ids[rows[0][1] + 1]:
            rows.append((first, last))
        else:
            pictures.append([(first, last)])
    return [
        (rows[0][0], rows[-1][1] + 1 if len(rows) > 1 else rows[0][1], len(rows))
        for rows in pictures
    ]


def _dropped(attention: Tensor | AttentionRows, first: int, last: int) -> float:
    if not isinstance(attention, Tensor):
        return 0.0  # only pictures that do not look ahead are read in tiles
    block = attention[0, first : last + 1, first : last + 1]
    return float(f"{float(block.triu(1).sum(1).mean()):.4g}")

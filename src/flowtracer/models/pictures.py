"""What a processor makes of pictures and videos beside the tokens, split by the row that it belongs to.

Processors lay the pictures of all rows end to end, some by patches, some by pictures, some by rows. Here
every row has its own, so that rows can be taken out of a batch, repeated and put in another order.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from flowtracer.models.decoder import AttentionCaptureError, unwrapped
from flowtracer.models.picture_rows import grids_of, split_pictures
from flowtracer.models.swap import evaluating

# Of transformers' models and processors: tensors with an entry for each token (the last two dimensions
# are rows and tokens), for each picture, and for each video; the first of a kind holds the pixels.
BY_TOKEN = ("token_type_ids", "mm_token_type_ids", "position_ids")
IMAGES = ("pixel_values", "pixel_attention_mask", "image_sizes", "image_grid_thw",
          "image_position_ids", "spatial_shapes")  # fmt: skip
VIDEOS = ("pixel_values_videos", "video_grid_thw", "second_per_grid_ts")
TYPES = BY_TOKEN[:2]  # 1 at tokens of pictures, 2 at those of videos
IGNORED = ("input_ids", "attention_mask", "num_images", "num_tiles", "num_crops",
           "num_soft_tokens_per_image")  # fmt: skip


@dataclass(frozen=True)
class ModelInputs:
    """Pictures and videos of B rows of tokens, and what the processor says of each token.

    rows: of each row its own tensors, by the names of the model's arguments; empty for text alone.
    tokens: tensors with an entry for each token, (..., B, T).
    in_pictures: which tokens are parts of pictures or videos, (B, T) bool.
    """

    rows: tuple[Mapping[str, Tensor], ...]
    tokens: Mapping[str, Tensor]
    in_pictures: Tensor

    def take(self, rows: Tensor | slice, columns: slice = slice(None)) -> "ModelInputs":
        """Some rows (indices, bool or a slice) and a range of columns."""
        numbers = torch.arange(len(self.rows))[rows.cpu() if isinstance(rows, Tensor) else rows]
        own = tuple(self.rows[number] for number in numbers.tolist())
        tokens = {
            name: value[..., numbers.to(value.device), :][..., columns]
            for name, value in self.tokens.items()
        }
        inside = self.in_pictures[numbers.to(self.in_pictures.device)][:, columns]
        return ModelInputs(own, tokens, inside)

    def to(self, device: torch.device) -> "ModelInputs":
        """The same on a device."""
        rows = tuple({name: value.to(device) for name, value in row.items()} for row in self.rows)
        tokens = {name: value.to(device) for name, value in self.tokens.items()}
        return ModelInputs(rows, tokens, self.in_pictures.to(device))

    @property
    def pictured(self) -> Tensor:
        """Which rows have pictures or videos, (B,) bool."""
        return torch.tensor([bool(row) for row in self.rows])

    def arguments(self, device: torch.device) -> dict[str, Tensor]:
        """What the model is called with beside ids and mask; nothing if no row has a picture."""
        names = {name for row in self.rows for name in row}
        if not names:
            return {}
        laid = {
            name: torch.cat([row[name] for row in self.rows if name in row]).to(device)
            for name in sorted(names)
        }
        return laid | {name: value.to(device) for name, value in self.tokens.items()}


def model_inputs(
    model: nn.Module,
    processed: Mapping[str, Any],
    input_ids: Tensor,
    *,
    images: Sequence[int] | None = None,
    tiles: Sequence[int] | None = None,
) -> ModelInputs:
    """What a processor gave, by rows.

    Args:
        processed: the processor's output, or other arguments of the model; ids and mask in it are not read.
        input_ids: (B, T). Tensors with an entry for each token may be narrower: what they lack on the
            right is text.
        images: pictures of each row, (B,). None: counted by the tokens that stand for them.
        tiles: entries of `pixel_values` of each row, (B,), where a picture has several.

    Token types that the model takes and the processor left out are those of the ids.

    Raises ValueError, in one sentence, for pictures that cannot be assigned to rows, and for inputs of
    other kinds, such as audio.
    """
    values = {k: v for k, v in processed.items() if v is not None and k not in IGNORED}
    unknown = sorted(set(values) - {*BY_TOKEN, *IMAGES, *VIDEOS})
    if unknown:
        raise ValueError(
            f"model inputs {', '.join(unknown)} are not read; pictures and videos are, as "
            f"{', '.join((*IMAGES, *VIDEOS))}"
        )
    tensors = {name: torch.as_tensor(value) for name, value in values.items()}
    count, length = input_ids.shape
    tokens = {
        name: _widened(name, tensors[name], count, length) for name in BY_TOKEN if name in tensors
    }
    rows: list[dict[str, Tensor]] = [{} for _ in range(count)]
    kinds = picture_tokens(model)
    for names, token in ((IMAGES, kinds.get("image")), (VIDEOS, kinds.get("video"))):
        of_kind = {name: tensors[name] for name in names if name in tensors}
        if of_kind:
            own = input_ids.new_zeros(count) if token is None else (input_ids == token).sum(1)
            numbers = images if names is IMAGES else None
            grids = grids_of(model, of_kind)
            each = None if grids is None else [height * width for height, width in grids]
            split_pictures(of_kind, own.tolist(), rows, each, numbers, tiles)
    if any(rows):
        tokens |= _types(model, input_ids, kinds, tokens)
    return ModelInputs(tuple(rows), tokens, standing_for_pictures(model, input_ids))


def as_model_inputs(
    model: nn.Module, inputs: "ModelInputs | Mapping[str, Any] | None", input_ids: Tensor
) -> ModelInputs | None:
    """A processor's output by rows; None without a picture. Raises ValueError as `model_inputs`."""
    if inputs is None:
        return None
    by_rows = inputs if isinstance(inputs, ModelInputs) else model_inputs(model, inputs, input_ids)
    if len(by_rows.rows) != len(input_ids):
        raise ValueError(
            f"model_inputs are of {len(by_rows.rows)} rows but input_ids has {len(input_ids)}"
        )
    return by_rows if any(by_rows.rows) else None


def picture_tokens(model: nn.Module) -> dict[str, int]:
    """Ids of the tokens that stand for parts of an "image", a "video" and "audio", as the model has them."""
    config = unwrapped(model).config
    tokens: dict[str, int] = {}
    for kind in ("image", "video", "audio"):
        for name in (f"{kind}_token_id", f"{kind}_token_index"):
            token = getattr(config, name, None)
            if isinstance(token, int):
                tokens.setdefault(kind, token)
    return tokens


def standing_for_pictures(model: nn.Module, input_ids: Tensor) -> Tensor:
    """Which tokens stand for parts of pictures or videos, bool in the shape of the ids."""
    inside = torch.zeros_like(input_ids, dtype=torch.bool)
    for token in picture_tokens(model).values():
        inside |= input_ids == token
    return inside


def lacking_pictures(model: nn.Module, input_ids: Tensor, inputs: ModelInputs | None) -> Tensor:
    """Rows with other numbers of picture tokens than their pictures have, (B,) bool.

    A policy may write such a token itself. Where the processor does not say how many tokens a picture
    has, rows without any picture are found.
    """
    if inputs is None:
        return standing_for_pictures(model, input_ids).any(1)
    kinds = picture_tokens(model)
    lacking = standing_for_pictures(model, input_ids).any(1).cpu() & ~inputs.pictured
    for names, kind in ((IMAGES, "image"), (VIDEOS, "video")):
        of_rows = [{name: row[name] for name in names if name in row} for row in inputs.rows]
        if kind not in kinds or not any(of_rows):
            continue  # the model takes such tokens for text
        counts = (input_ids == kinds[kind]).sum(1).tolist()
        for number, (count, pictures) in enumerate(zip(counts, of_rows, strict=True)):
            expected = _tokens_of(model, pictures)
            lacking[number] |= expected is not None and count != expected
    return lacking.to(input_ids.device)


def _tokens_of(model: nn.Module, pictures: Mapping[str, Tensor]) -> int | None:
    """How many tokens stand for some pictures of a row. None: not known."""
    if not pictures:
        return 0
    grids = grids_of(model, pictures)
    if grids is not None:
        return sum(height * width for height, width in grids)
    of_each = getattr(unwrapped(model).config, "mm_tokens_per_image", None)  # Gemma 3
    return None if of_each is None else of_each * len(next(iter(pictures.values())))


def check_pictured(model: nn.Module, input_ids: Tensor | None, inputs: Mapping[str, Any]) -> None:
    """Raise AttentionCaptureError if tokens stand for pictures that are not among the model's inputs."""
    if input_ids is None or has_pictures(inputs) or not picture_tokens(model):
        return
    count = int(standing_for_pictures(model, input_ids).sum())
    if count:
        raise AttentionCaptureError(
            f"{count} tokens stand for a picture that {type(unwrapped(model)).__name__} was not given; pass "
            "it with its text (`images` of `trace`, `model_inputs` elsewhere)"
        )


def has_pictures(inputs: Mapping[str, Any]) -> bool:
    """Whether a model that is called with these inputs gets pictures or videos."""
    return any(inputs.get(names[0]) is not None for names in (IMAGES, VIDEOS))


def looks_ahead(model: nn.Module) -> bool:
    """Whether tokens of a picture attend to later ones of it: only the mask says what they see."""
    config = unwrapped(model).config
    if config.model_type == "gemma4":
        return config.get_text_config().use_bidirectional_attention == "vision"
    return config.model_type == "gemma3"


@contextmanager
def run_with_pictures(model: nn.Module) -> Iterator[None]:
    """The complete model in evaluation mode, and what it keeps of a text's positions put back."""
    kept = [
        (module, module.rope_deltas) for module in model.modules() if hasattr(module, "rope_deltas")
    ]
    try:
        with evaluating(model):
            yield
    finally:
        for module, deltas in kept:
            module.rope_deltas = deltas


def _widened(name: str, value: Tensor, rows: int, length: int) -> Tensor:
    if value.ndim < 2 or value.shape[-2] != rows or value.shape[-1] > length:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, but there are {rows} rows of {length} tokens"
        )
    missing = length - value.shape[-1]
    if missing and name == "position_ids":
        raise ValueError(
            f"position_ids has {value.shape[-1]} columns, but there are {length} tokens"
        )
    return nn.functional.pad(value, (0, missing)) if missing else value


def _types(
    model: nn.Module, input_ids: Tensor, kinds: Mapping[str, int], known: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Token types (B, T) that the model's forward takes and nobody gave."""
    taken = signature(type(unwrapped(model)).forward).parameters
    missing = [name for name in TYPES if name in taken and name not in known]
    types = torch.zeros_like(input_ids)
    for number, kind in enumerate(("image", "video"), start=1):
        if kind in kinds:
            types[input_ids == kinds[kind]] = number
    return dict.fromkeys(missing, types)

"""Each chosen layer's own attention, shown as the forward pass goes by, and their mean in the end."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowtracer.attention.capture import LayerCall, Progress
from flowtracer.attention.layers import Layers, model_layers
from flowtracer.attention.mean import Edges, MeanReader
from flowtracer.attention.memory import check_memory
from flowtracer.attention.readers import read_attention
from flowtracer.models.decoder import device_of, find_decoder
from flowtracer.models.pictures import ModelInputs

ShowLayer = Callable[[int, Tensor], None]  # the layer's number, its mean over heads (B, T, T)


class LayerReader:
    """Adds up layers as `MeanReader` does, and shows each of them once it is complete.

    Holds two matrices of T x T, however many layers there are: a layer that was shown is overwritten.
    """

    def __init__(
        self, attention_mask: Tensor, layers: tuple[int, ...], show: ShowLayer, *, edges: Edges
    ) -> None:
        """attention_mask: (B, T). layers: those to show and to average over."""
        batch, length = attention_mask.shape
        check_memory(2 * 4 * batch * length * length, attention_mask.device, length)
        self.layers = layers
        self._show = show
        self._layer = MeanReader(attention_mask, layers[:1], edges=edges)  # the one that is read
        # Without a sink only at the end: "no-sink" takes the sink out of the mean, not of its parts.
        self._all = MeanReader(attention_mask, layers, edges=edges)

    def take(self, call: LayerCall) -> bool:
        """Add a complete layer by a kernel, see `MeanReader`."""
        self._layer.mean.zero_()
        taken = self._layer.take(call)
        if taken:
            self._complete(call.layer)
        return taken

    def read(self, call: LayerCall, start: int, weights: Tensor) -> None:
        """Take in queries start..start + rows of one layer, (B, heads, rows, keys)."""
        self._layer.read(call, start, weights)
        if start + weights.shape[2] == call.query.shape[2]:
            self._complete(call.layer)

    def finish(self) -> Tensor:
        """The mean over layers, (B, T, T)."""
        return self._all.finish()

    def _complete(self, layer: int) -> None:
        self._all.mean.add_(self._layer.mean, alpha=1 / len(self.layers))
        self._show(layer, self._layer.finish())


def attention_by_layer(
    model: nn.Module,
    input_ids: Tensor,
    show: ShowLayer,
    *,
    layers: Layers = "middle",
    edges: Edges = "mean",
    model_inputs: ModelInputs | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """`mean_attention` of texts without padding; `show` gets each layer's matrix on the way.

    The matrix must be used at once: its memory is that of the next layer. Costs one more T x T, and
    the time to add it to the mean. Raises as `mean_attention`.
    """
    chosen = model_layers(model, layers)
    mask = torch.ones_like(input_ids, device=device_of(find_decoder(model)))
    reader = LayerReader(mask, chosen, show, edges=edges)
    read_attention(model, input_ids, None, [reader], model_inputs=model_inputs, progress=progress)
    return reader.finish()

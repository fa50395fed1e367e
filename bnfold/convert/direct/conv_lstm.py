"""ConvLSTM1D/2D/3D: an LSTM whose products are convolutions.

That of the input stands outside the loop, one convolution of all steps, where an affine in front
of it can be folded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bnfold.convert.direct.convolutions import (
    channels_of,
    convolve,
    is_channels_first,
    spatial_form,
)
from bnfold.convert.direct.layout import dynamic_shape, value
from bnfold.convert.direct.ops import elementwise, slices
from bnfold.convert.direct.scan import Order, scan, time_first
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.stepwise import lstm_states
from bnfold.convert.direct.tensor import Dim, Shape, Tensor, permuted
from bnfold.formats.keras.geometry import Window, spatial_count, window_of

CONVOLUTIONAL = frozenset({"ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"})


def conv_lstm(
    site: Site, x: Tensor, mask: Tensor | None, states: Sequence[Tensor], order: Order
) -> tuple[Tensor, list[Tensor]]:
    """What the config asks for, all results or the last one, and the final states.

    Args:
        site: of the layer itself (in a Bidirectional: of one direction).
        x, mask: the sequence of images, and which of its steps count; None for all.
        states: the initial ones; none for zeros.
        order: which way to go.
    """
    if site.generation == 2:
        # Its convolutional loops do not heed this setting, not even a Bidirectional's.
        config = {**site.config, "zero_output_for_mask": False}
        site = replace(site, layer=replace(site.layer, config=config))
    count = spatial_count(site.layer.class_name)
    image = (x.shape[0], *x.shape[2:])
    channels, filters = channels_of(site, image), int(site.config["filters"])
    if x.rank != count + 3 or not isinstance(channels, int):
        raise site.unsupported("is given something else than a sequence of images")
    kernel = site.weight(
        "recurrent_kernel",
        (*window_of(site.config, count).kernel, filters, 4 * filters),
    )
    moved = kernel.transpose(count + 1, count, *range(count))
    ones = (1,) * count
    window = Window(kernel.shape[:count], ones, ones, "same")
    steps = _convolved(site, x, channels, filters)
    axis = 1 if is_channels_first(site) else count + 1

    def advance(inner: Site, step: Tensor, before: list[Tensor]) -> list[Tensor]:
        again = convolve(inner, before[0], moved, None, window, 1, _RECURRENT)
        total = elementwise(inner, "Add", step, again)
        gates = [
            slices(inner, total, {axis: (i * filters, (i + 1) * filters, 1)}) for i in range(4)
        ]
        return lstm_states(inner, gates, before[1])

    shape = [steps.shape[0], *steps.shape[2:]]
    shape[axis] = filters
    state = tuple(shape), spatial_form(site, count + 2)
    return scan(site, steps, state, advance, order, given=states, mask=mask)


_RECURRENT = ("recurrent_kernel", "", "Recurrent")


def _convolved(site: Site, x: Tensor, channels: int, filters: int) -> Tensor:
    """The convolution of the inputs of all gates [batch, time, ..., 4 * filters], biased."""
    count = spatial_count(site.layer.class_name)
    window = window_of(site.config, count)
    if window.padding not in ("valid", "same"):
        raise site.unsupported(f"has the padding {window.padding!r}")
    kernel = site.weight("kernel", (*window.kernel, channels, 4 * filters))
    bias = site.weight("bias", (4 * filters,)) if site.config.get("use_bias", True) else None
    form = spatial_form(site, count + 2)
    merged: Dim = site.emitter.fresh_dim()
    if isinstance(x.shape[0], int) and isinstance(x.shape[1], int):
        merged = x.shape[0] * x.shape[1]
    flat: Shape = (merged, *x.shape[2:])
    sizes = permuted(flat, form)[1:]
    known = [dim for dim in sizes if isinstance(dim, int)]
    if len(known) < len(sizes):
        raise site.unsupported("is given images whose size is free")
    start = value(site, x, time_first(form))
    operand = site.integers([-1, *known], "images")
    images = site.node("Reshape", [start, operand], (x.dtype, permuted(flat, form)), "Images")
    y = convolve(
        site,
        Tensor(flat, x.dtype, {form: images}),
        kernel.transpose(count + 1, count, *range(count)),
        bias,
        window,
        1,
    )
    shape: Shape = (*x.shape[:2], *y.shape[1:])
    after = permuted(shape, time_first(form))
    free = [dim for dim in after[:2] if not isinstance(dim, int)]
    if len(free) < 2:
        sizes = tuple(dim if isinstance(dim, int) else -1 for dim in after)
        target = site.integers([dim for dim in sizes if isinstance(dim, int)], "steps")
    else:
        before = permuted(x.shape, time_first(form))
        target = dynamic_shape(site, start, before, after)
    made = site.node("Reshape", [value(site, y, form), target], (x.dtype, after), "Steps")
    return Tensor(shape, x.dtype, {time_first(form): made})

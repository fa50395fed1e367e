"""A value while it is being emitted: Keras's shape, and the ONNX layouts in which it exists.

Keras keeps channels last, ONNX's convolutions want them first. So a value is known by its Keras
axes, and may exist in several *forms*: its axes in another order, or, after a Flatten, its
elements in the order that channels-first makes. An op asks for the form it needs; a Transpose
comes into being only where no earlier op has left that form behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from bnfold.formats.keras.graph import AnyArray

Dim = int | str | None
Shape = tuple[Dim, ...]


@dataclass(frozen=True)
class Form:
    """How the axes of an ONNX value are those of the Keras value.

    Attributes:
        perm: ONNX axis i is Keras axis ``perm[i]``.
        flat: where it is not (): the last Keras axis is the flattening of these sizes, channels
            last, and the elements stand as channels first would flatten them.
    """

    perm: tuple[int, ...]
    flat: tuple[int, ...] = ()

    def axis(self, keras_axis: int) -> int:
        """The ONNX axis of a Keras axis."""
        return self.perm.index(keras_axis % len(self.perm))

    @property
    def is_plain(self) -> bool:
        """Whether it is the order of Keras."""
        return not self.flat and self.perm == tuple(range(len(self.perm)))


def plain(rank: int) -> Form:
    """Keras's own order."""
    return Form(tuple(range(rank)))


def channels_first(rank: int) -> Form:
    """Batch, channels, space; of a value that Keras has as batch, space, channels."""
    return Form((0, rank - 1, *range(1, rank - 1)))


@dataclass(eq=False)
class Tensor:
    """A value of the Keras graph.

    Attributes:
        shape: in Keras's order; names or None where a size is free.
        dtype: "float32", "int64", "bool", ...
        forms: the ONNX values that hold it; the first is the one it was made in.
        pending: forms that a node without cost (Reshape) would make.
        const: its value where it is constant, in Keras's order.
        mask: which timesteps count; None for all.
        sizes: what is known of its elements, where they are sizes of values.
        padded: the value that this one is with zeros around it, and how many along each Keras
            axis: a convolution adds them itself.
    """

    shape: Shape
    dtype: str
    forms: dict[Form, ir.Value] = field(default_factory=dict)
    pending: dict[Form, Callable[[], ir.Value]] = field(default_factory=dict)
    const: AnyArray | None = None
    mask: Tensor | None = None
    sizes: Shape | None = None
    padded: tuple[Tensor, tuple[tuple[int, int], ...]] | None = None

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def form(self) -> Form:
        """The form it was made in, or would be made in without cost."""
        for form in (*self.forms, *self.pending):
            return form
        return plain(self.rank)

    def has(self, form: Form) -> bool:
        """Whether the form costs no Transpose."""
        return form in self.forms or form in self.pending or self.const is not None


def permuted(shape: Sequence[Dim], form: Form) -> tuple[Dim, ...]:
    """The shape of the ONNX value that has ``form``."""
    return tuple(shape[axis] for axis in form.perm)


def size(shape: Sequence[Dim]) -> int | None:
    """Number of elements; None where a size is free."""
    count = 1
    for dim in shape:
        if not isinstance(dim, int):
            return None
        count *= dim
    return count

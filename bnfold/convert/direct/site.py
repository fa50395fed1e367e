"""One call of one layer: what an emission rule is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from bnfold.convert.direct.emitter import Attribute, Emitter
from bnfold.convert.direct.tensor import Dim, Tensor
from bnfold.core.errors import InputError
from bnfold.formats.keras.errors import UnsupportedLayerError
from bnfold.formats.keras.graph import AnyArray, Layer, float_dtype

# Layers and operators that are affines of the model: what stays of them is reported.
AFFINES = frozenset(
    {
        *("BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2"),
        *("SyncBatchNormalization", "Normalization", "Rescaling", "LayerScale"),
        *("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "BatchNorm", "TFOpLambda"),
    }
)


@dataclass(frozen=True, eq=False)
class Site:
    """A layer that is being called.

    Attributes:
        emitter: where nodes go.
        layer: the layer.
        path: its path from the outermost model, "encoder/bn_1".
        args, kwargs: of the call, with `Tensor`s for values.
        generation: 2 or 3: the Keras whose meaning counts.
    """

    emitter: Emitter
    layer: Layer
    path: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    generation: int = 3

    @property
    def config(self) -> Mapping[str, Any]:
        """The layer's config."""
        return self.layer.config

    @property
    def opset(self) -> int:
        """Version of the operator set."""
        return self.emitter.opset

    @property
    def dtype(self) -> str:
        """The layer's compute dtype."""
        return self.layer.policy.compute

    @property
    def input(self) -> Tensor:
        """The only input.

        Raises:
            UnsupportedLayerError: there are several, or none.
        """
        tensors = self.inputs
        if len(tensors) != 1:
            raise self.unsupported(f"is called with {len(tensors)} inputs where one is expected")
        return tensors[0]

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors of the first argument, or, where that is one tensor, of all of them."""
        first = self.args[0] if self.args else next(iter((self.kwargs or {}).values()), None)
        if isinstance(first, Tensor):
            return [first]
        if isinstance(first, (list, tuple)) and all(isinstance(part, Tensor) for part in first):
            return list(first)
        raise self.unsupported("is called with something else than tensors")

    def argument(self, index: int, name: str, default: Any = None) -> Any:
        """A call argument given by position or by name."""
        if index < len(self.args):
            return self.args[index]
        return (self.kwargs or {}).get(name, default)

    def mask(self, x: Tensor, place: int = 1) -> Tensor | None:
        """Which timesteps of ``x`` count: as the call says, or as the value itself carries."""
        given = self.argument(place, "mask")
        return given if isinstance(given, Tensor) else x.mask

    def argument_mask(self, name: str, x: Tensor | None) -> Tensor | None:
        """A mask given by its name in the call, or as the value itself carries it."""
        given = (self.kwargs or {}).get(name)
        if isinstance(given, Tensor):
            return given
        return None if x is None else x.mask

    @property
    def is_training(self) -> bool:
        """Whether the call insists on training. What Keras 3 predicts does not heed that."""
        return self.generation == 2 and self.argument(1, "training") is True

    def weight(self, role: str, shape: Sequence[int | None], dtype: str = "") -> AnyArray:
        """An array of the layer.

        Args:
            role: "kernel", ...
            shape: what it must be; None for a free size.
            dtype: to cast to; the layer's compute dtype by default.

        Raises:
            InputError: the model has no such array, or it has another shape.
        """
        array = self.layer.weights.get(role)
        if array is None:
            raise InputError(f"Layer {self.path!r} ({self.layer.class_name}) lacks its {role}.")
        fits = len(array.shape) == len(shape) and all(
            want is None or want == have for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = tuple("any" if want is None else want for want in shape)
            raise InputError(
                f"Layer {self.path!r} ({self.layer.class_name}): its {role} has the shape "
                f"{array.shape}, not {wanted}."
            )
        return array.read().astype(float_dtype(dtype or self.dtype), copy=False)

    def number(self, value: float, dtype: str) -> AnyArray:
        """A scalar constant."""
        return np.asarray(value, dtype=float_dtype(dtype))

    def constant(self, array: AnyArray, name: str) -> ir.Value:
        """A constant named after the layer."""
        return self.emitter.constant(array, f"{self.path}/{name}" if self.path else name)

    def integers(self, values: Sequence[int], name: str) -> ir.Value:
        """A list of int64 named after the layer."""
        return self.constant(np.asarray(values, dtype=np.int64), name)

    def node(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        output: tuple[str, Sequence[Dim]],
        name: str = "",
        **attributes: Attribute | None,
    ) -> ir.Value:
        """A node with one output of this dtype and shape; named after the layer."""
        return self.nodes(op, inputs, [output], name, **attributes)[0]

    def nodes(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        outputs: Sequence[tuple[str, Sequence[Dim]] | None],
        name: str = "",
        **attributes: Attribute | None,
    ) -> list[ir.Value]:
        """A node with several outputs."""
        return self.emitter.node(
            op,
            inputs,
            outputs,
            label=self.path,
            name=name,
            attributes=attributes,
            is_step=self.layer.class_name not in AFFINES,
        )

    def unsupported(self, why: str) -> UnsupportedLayerError:
        """An error that names this layer; to be raised."""
        return UnsupportedLayerError(self.path, self.layer.class_name, why)

"""The lowering table: which ONNX op treats an affine how.

A rule is a function from a `NodeView` to a `Transfer`. Adding an op is one such function (or one
more name on an existing one) and one row in the law tests.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.core.affine import Array
from bnfold.core.moves import Shape
from bnfold.core.transfer import Opaque, Transfer
from bnfold.formats.onnx.attributes import attribute_of, float_attribute, floats_attribute
from bnfold.formats.onnx.computed_shapes import shape_of
from bnfold.formats.onnx.constants import OnnxConstants, is_float


class NodeView:
    """What a rule may ask of a node."""

    def __init__(self, node: ir.Node, constants: OnnxConstants, opset: int) -> None:
        self.node = node
        self.constants = constants
        self.opset = opset
        self.op_type = node.op_type

    # -- attributes -----------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether the attribute is given."""
        return name in self.node.attributes

    def attr_int(self, name: str, default: int) -> int:
        """An integer attribute."""
        found = attribute_of(self.node, name, ir.AttributeType.INT)
        return default if found is None else found.as_int()

    def attr_ints(self, name: str) -> tuple[int, ...] | None:
        """A list of integers, None where absent."""
        found = attribute_of(self.node, name, ir.AttributeType.INTS)
        return None if found is None else tuple(found.as_ints())

    def attr_float(self, name: str, default: float) -> float:
        """A float attribute, as the file format holds it."""
        return float_attribute(self.node, name, default)

    def attr_floats(self, name: str) -> tuple[float, ...] | None:
        """A list of floats, as the file format holds them; None where absent."""
        return floats_attribute(self.node, name)

    def attr_string(self, name: str, default: str) -> str:
        """A string attribute."""
        found = attribute_of(self.node, name, ir.AttributeType.STRING)
        return default if found is None else found.as_string()

    # -- operands ---------------------------------------------------------------------------

    def operand(self, index: int) -> ir.Value | None:
        """The operand, None where absent or empty."""
        inputs = self.node.inputs
        value = inputs[index] if index < len(inputs) else None
        return None if value is None or not value.name else value

    def shape(self, index: int) -> Shape | None:
        """Shape of an operand."""
        value = self.operand(index)
        if value is None:
            return None
        shape = shape_of(value)
        whole = shape is not None and all(isinstance(dim, int) for dim in shape)
        if whole or not self.is_known(index):
            return shape
        return self.constants.shape(value.name or "") or shape

    def rank(self, index: int) -> int | None:
        """Rank of an operand."""
        shape = self.shape(index)
        return None if shape is None else len(shape)

    def is_known(self, index: int) -> bool:
        """Whether the operand is determined by the model."""
        value = self.operand(index)
        return value is not None and self.constants.is_known(value.name or "")

    def is_float(self, index: int) -> bool:
        """Whether the operand is of a floating type."""
        value = self.operand(index)
        return value is not None and is_float(value.dtype)

    def array(self, index: int) -> NDArray[np.generic] | None:
        """A constant operand in its own type, None where it is not constant."""
        value = self.operand(index)
        return None if value is None else self.constants.array(value.name or "")

    def float64(self, index: int) -> Array | None:
        """A constant floating operand in float64."""
        value = self.operand(index)
        return None if value is None else self.constants.value(value.name or "")

    def integers(self, index: int) -> tuple[int, ...] | None:
        """A constant integer operand as a flat tuple."""
        array = self.array(index)
        if array is None or array.dtype.kind not in "iu":
            return None
        return tuple(int(i) for i in array.reshape(-1))

    def ints_or_input(self, name: str, index: int) -> tuple[int, ...] | None:
        """A list that is an attribute in older opsets and an input in newer ones."""
        given = self.attr_ints(name)
        return self.integers(index) if given is None else given

    # -- results ----------------------------------------------------------------------------

    @property
    def out_shape(self) -> Shape | None:
        """Shape of the first result."""
        return shape_of(self.node.outputs[0])

    def is_used(self, output: int) -> bool:
        """Whether somebody reads the result, or it is a graph output."""
        if output >= len(self.node.outputs):
            return False
        value = self.node.outputs[output]
        return bool(value.name) and (bool(value.uses()) or value.is_graph_output())


Rule = Callable[[NodeView], Transfer]
# Before, arithmetic was broadcast by attributes, and a Gemm or BatchNormalization had others too.
OLDEST_OPSET = 7
RULES: dict[tuple[str, str], Rule] = {}


def rule(*op_types: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Enter a function into the table under the given op types."""

    def enter(function: Rule) -> Rule:
        for op_type in op_types:
            assert (domain, op_type) not in RULES, op_type
            RULES[domain, op_type] = function
        return function

    return enter


def transfer_of(view: NodeView) -> Transfer:
    """How the node treats an affine; opaque if no rule names it."""
    domain = "" if view.node.domain == "ai.onnx" else view.node.domain
    if not domain and view.opset < OLDEST_OPSET:
        detail = f"opset {view.opset} broadcasts otherwise: convert the model to {OLDEST_OPSET}"
        return Opaque(detail=detail, candidate=view.op_type == "BatchNormalization")
    found = RULES.get((domain, view.op_type))
    return Opaque() if found is None else found(view)

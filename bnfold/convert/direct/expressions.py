"""Formulas on tensors, written as one writes them; each operation becomes an ONNX op."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnfold.convert.direct.layout import constant, unsqueeze
from bnfold.convert.direct.ops import cast, elementwise, reduce, unary
from bnfold.convert.direct.promotion import in_floats, is_float, operands
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor
from bnfold.formats.keras.graph import float_dtype

Options = Mapping[str, Any]
Rule = Callable[[Site, list[Any], Options], "Tensor | list[Tensor]"]
One = Callable[[Site, list[Any], Options], Tensor]
Number = float | bool | np.generic


@dataclass(frozen=True, eq=False)
class Expr:
    """A tensor with arithmetic. Numbers beside it take its dtype."""

    site: Site
    tensor: Tensor

    @property
    def dtype(self) -> str:
        """The tensor's."""
        return self.tensor.dtype

    def like(self, number: Expr | Number) -> Expr:
        """A number as a constant of this dtype; an expression as it is."""
        if isinstance(number, Expr):
            return number
        with np.errstate(over="ignore"):
            return Expr(self.site, constant(np.asarray(number).astype(float_dtype(self.dtype))))

    def apply(self, op: str, *others: Expr | Number, dtype: str = "") -> Expr:
        """An ONNX op of this and others."""
        tensors = [self.tensor, *(self.like(one).tensor for one in others)]
        if len(tensors) == 1:
            return Expr(self.site, unary(self.site, op, self.tensor, dtype=dtype))
        return Expr(self.site, elementwise(self.site, op, *tensors, dtype=dtype))

    def to(self, dtype: str) -> Expr:
        """The same in another dtype."""
        return Expr(self.site, cast(self.site, self.tensor, dtype))

    def over(self, op: str, axes: Sequence[int], keepdims: bool = False) -> Expr:
        """A reduction."""
        return Expr(self.site, reduce(self.site, op, self.tensor, axes, keepdims))

    def spread(self, *axes: int) -> Expr:
        """With new axes of size 1 at these places of the result."""
        return Expr(self.site, unsqueeze(self.site, self.tensor, axes))

    def equals(self, other: Expr | Number) -> Expr:
        """Where both are the same."""
        return self.apply("Equal", other, dtype="bool")

    def choose(self, yes: Expr | Number, no: Expr | Number) -> Expr:
        """``yes`` where this is true, else ``no``; one of them at least is an expression."""
        model = yes if isinstance(yes, Expr) else no
        assert isinstance(model, Expr)
        pair = model.like(yes).tensor, model.like(no).tensor
        made = elementwise(self.site, "Where", self.tensor, *pair, dtype=model.dtype)
        return Expr(self.site, made)

    @property
    def is_nan(self) -> Expr:
        """Where this is no number. Whole numbers always are."""
        if is_float(self.dtype):
            return self.apply("IsNaN", dtype="bool")
        return ~self.equals(self)

    def __add__(self, other: Expr | Number) -> Expr:
        return self.apply("Add", other)

    def __sub__(self, other: Expr | Number) -> Expr:
        return self.apply("Sub", other)

    def __mul__(self, other: Expr | Number) -> Expr:
        return self.apply("Mul", other)

    def __truediv__(self, other: Expr | Number) -> Expr:
        return self.apply("Div", other)

    def __pow__(self, other: Expr | Number) -> Expr:
        return self.apply("Pow", other)

    def __rsub__(self, other: Number) -> Expr:
        return self.like(other) - self

    def __radd__(self, other: Number) -> Expr:
        return self.like(other) + self

    def __rmul__(self, other: Number) -> Expr:
        return self.like(other) * self

    def __rtruediv__(self, other: Number) -> Expr:
        return self.like(other) / self

    def __rpow__(self, other: Number) -> Expr:
        return self.like(other) ** self

    def __neg__(self) -> Expr:
        return self.apply("Neg")

    def __abs__(self) -> Expr:
        return self.apply("Abs")

    def __lt__(self, other: Expr | Number) -> Expr:
        return self.apply("Less", other, dtype="bool")

    def __gt__(self, other: Expr | Number) -> Expr:
        return self.apply("Greater", other, dtype="bool")

    def __le__(self, other: Expr | Number) -> Expr:
        return self.apply("LessOrEqual", other, dtype="bool")

    def __ge__(self, other: Expr | Number) -> Expr:
        return self.apply("GreaterOrEqual", other, dtype="bool")

    def __and__(self, other: Expr) -> Expr:
        return self.apply("And", other, dtype="bool")

    def __or__(self, other: Expr) -> Expr:
        return self.apply("Or", other, dtype="bool")

    def __invert__(self) -> Expr:
        return self.apply("Not", dtype="bool")


def formula(
    function: Callable[..., Expr], *, floats: str = "", whole: str = "", **defaults: Any
) -> One:
    """A rule whose operands are promoted, and which computes by a formula.

    Args:
        function: takes one expression per operand, then the options by keyword.
        floats: "yes" where whole numbers are computed with as float32, "wide" where int64 is as
            float64.
        whole: "kept" where whole numbers are their own result.
        defaults: the options that the function takes, with what they are by default.
    """
    taken = inspect.signature(function).parameters.values()
    count = sum(one.default is one.empty and one.name not in defaults for one in taken)

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        given = operands(site, args[:count])
        if len(given) < count:
            raise site.unsupported("is called without an operand that it needs")
        if whole == "kept" and not is_float(given[0].dtype):
            return given[0]
        if floats:
            given = [in_floats(site, one, wide=floats == "wide") for one in given]
        stated = {
            key: options[key] if options.get(key) is not None else default
            for key, default in defaults.items()
        }
        return function(*(Expr(site, one) for one in given), **stated).tensor

    return rule

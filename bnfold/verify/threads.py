"""How many threads the float64 evaluation gets."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import onnx_ir as ir
from threadpoolctl import threadpool_limits

_More = ParamSpec("_More")
_Result = TypeVar("_Result")

#: Constants of a model, in elements, from which its products are large enough to be shared out.
LARGE = 1 << 24


def threads_by_size(
    function: Callable[Concatenate[ir.Model, _More], _Result],
) -> Callable[Concatenate[ir.Model, _More], _Result]:
    """Let numpy multiply in one thread while ``function`` works on a model that is not large.

    The products of small models take microseconds to milliseconds, and all threads of BLAS have to
    meet at the end of each. Where other programs want the cores too (Keras, which starts meanwhile
    in a process of its own, is one), such a meeting takes many times as long as the product.
    """

    @functools.wraps(function)
    def limited(model: ir.Model, /, *more: _More.args, **named: _More.kwargs) -> _Result:
        with threadpool_limits(None if _elements(model) >= LARGE else 1, user_api="blas"):
            return function(model, *more, **named)

    return limited


def _elements(model: ir.Model) -> int:
    constants = (value.const_value for value in model.graph.initializers.values())
    return sum(constant.size for constant in constants if constant is not None)

"""Operator nodes of Keras 3 (``x + y``, ``keras.ops.mean(x)``); Keras 2's are mapped to them."""

from __future__ import annotations

from collections.abc import Mapping

from bnfold.convert.direct.expressions import Rule
from bnfold.convert.direct.operators_image import IMAGES
from bnfold.convert.direct.operators_index import INDEXED
from bnfold.convert.direct.operators_make import MADE
from bnfold.convert.direct.operators_math import MATH
from bnfold.convert.direct.operators_moves import MOVES
from bnfold.convert.direct.operators_nn import NETS
from bnfold.convert.direct.operators_products import PRODUCTS
from bnfold.convert.direct.operators_reduce import REDUCTIONS
from bnfold.convert.direct.operators_sort import SORTED
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor

OPERATORS: Mapping[str, Rule] = {
    **IMAGES,
    **INDEXED,
    **MADE,
    **MATH,
    **MOVES,
    **NETS,
    **PRODUCTS,
    **REDUCTIONS,
    **SORTED,
}

# Call arguments of operators that have others than operands in order.
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "BatchNorm": ("x", "mean", "variance", "offset", "scale"),
    "DotProductAttention": ("query", "key", "value", "bias", "mask", "scale"),
    "LayerNorm": ("x", "gamma", "beta"),
    "RMSNorm": ("x", "scale"),
    "Select": ("condlist", "choicelist", "default"),
    "Where": ("condition", "x1", "x2"),
}


def operator(site: Site) -> Tensor | list[Tensor]:
    """An operator node of Keras 3: operands in the call, options in the config or the call."""
    name = site.layer.class_name
    options = {key: one for key, one in site.config.items() if key != "name"}
    args, kwargs = list(site.args), dict(site.kwargs or {})
    if name in _ARGUMENTS:
        args += [kwargs.pop(key, None) for key in _ARGUMENTS[name][len(args) :]]
    for key, one in kwargs.items():
        if isinstance(one, Tensor) or key in ("x1", "x2", "x"):
            args.append(one)
        elif one is not None:
            options[key] = one
    return OPERATORS[name](site, args, options)

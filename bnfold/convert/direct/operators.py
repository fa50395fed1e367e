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
from bnfold.formats.keras.operator_calls import keras3_call

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


def operator(site: Site) -> Tensor | list[Tensor]:
    """An operator node of Keras 3."""
    call = keras3_call(
        site.layer, site.args, site.kwargs or {}, lambda one: isinstance(one, Tensor)
    )
    return OPERATORS[call.name](site, call.args, call.options)

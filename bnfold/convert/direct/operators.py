"""Operator nodes of Keras 3 (``x + y``, ``keras.ops.mean(x)``); Keras 2's are mapped to them."""

from __future__ import annotations

from collections.abc import Mapping

from bnfold.convert.direct.operators_math import MATH, Rule
from bnfold.convert.direct.operators_moves import MOVES
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor

OPERATORS: Mapping[str, Rule] = {**MATH, **MOVES}


def operator(site: Site) -> Tensor | list[Tensor]:
    """An operator node of Keras 3: operands in the call, options in the config or the call."""
    options = {key: one for key, one in site.config.items() if key != "name"}
    args = list(site.args)
    for name, one in (site.kwargs or {}).items():
        if isinstance(one, Tensor) or name in ("x1", "x2", "x"):
            args.append(one)
        elif one is not None:
            options[name] = one
    return OPERATORS[site.layer.class_name](site, args, options)

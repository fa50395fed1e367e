"""Masks: which timesteps of a sequence count."""

from __future__ import annotations

from bnfold.convert.direct.layout import constant
from bnfold.convert.direct.ops import cast, elementwise, reduce
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor


def masking(site: Site) -> Tensor:
    """Masking: timesteps all of whose features are ``mask_value`` become zero and do not count."""
    x = site.input
    if x.rank < 2:
        raise site.unsupported("is given a value without features")
    fill = constant(site.number(float(site.config.get("mask_value", 0.0)), x.dtype))
    equal = elementwise(site, "Equal", x, fill, dtype="bool")
    differs = cast(site, elementwise(site, "Not", equal, dtype="bool"), x.dtype)
    counted = reduce(site, "ReduceMax", differs, [-1], True)
    y = elementwise(site, "Mul", x, counted)
    flags = reduce(site, "ReduceMax", differs, [-1], False)
    y.mask = cast(site, flags, "bool")
    return y


def both(site: Site, left: Tensor, right: Tensor) -> Tensor:
    """Where both masks count."""
    return elementwise(site, "And", left, right, dtype="bool")


def either(site: Site, left: Tensor, right: Tensor) -> Tensor:
    """Where at least one mask counts."""
    return elementwise(site, "Or", left, right, dtype="bool")

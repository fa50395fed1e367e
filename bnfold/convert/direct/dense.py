"""Dense, EinsumDense and Embedding."""

from __future__ import annotations

import numpy as np

from bnfold.convert.direct.activations import activate
from bnfold.convert.direct.layout import constant, value
from bnfold.convert.direct.ops import cast, einsum, elementwise, unary
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Form, Tensor, permuted, plain
from bnfold.formats.keras.graph import AnyArray


def dense(site: Site) -> Tensor:
    """Dense: ``x @ kernel + bias`` along the last axis."""
    x = site.input
    features, units = x.shape[-1], int(site.config["units"])
    if not isinstance(features, int):
        raise site.unsupported("is given a value whose last size is free")
    kernel = site.weight("kernel", (features, units))
    bias = site.weight("bias", (units,)) if site.config.get("use_bias", True) else None
    y = gemm(site, x, kernel, bias) if x.rank == 2 else last_axis_product(site, x, kernel, bias)
    return activate(site, y, site.config.get("activation"))


def gemm(
    site: Site, x: Tensor, kernel: AnyArray, bias: AnyArray | None, name: str = "kernel"
) -> Tensor:
    """The product of a matrix, as one Gemm; a Flatten's order goes into the kernel's rows."""
    form = x.form if x.form.flat else plain(2)
    if form.flat:
        *space, channels = form.flat
        shaped = kernel.reshape(*space, channels, kernel.shape[1])
        kernel = np.moveaxis(shaped, -2, 0).reshape(kernel.shape)
    shape = (x.shape[0], kernel.shape[1])
    operands = [value(site, x, form), site.constant(kernel, name)]
    if bias is None:
        made = site.node("MatMul", operands, (x.dtype, shape))
    else:
        operands.append(site.constant(bias, "bias"))
        made = site.node("Gemm", operands, (x.dtype, shape))
    return Tensor(shape, x.dtype, {plain(2): made})


def last_axis_product(
    site: Site, x: Tensor, kernel: AnyArray, bias: AnyArray | None, name: str = "kernel"
) -> Tensor:
    """MatMul and Add along the last axis; the other axes stay in whatever order they have."""
    form = x.form
    if form.flat or form.perm[-1] != x.rank - 1:
        form = plain(x.rank)
    shape: tuple[Dim, ...] = (*x.shape[:-1], kernel.shape[1])
    made = site.node(
        "MatMul",
        [value(site, x, form), site.constant(kernel, name)],
        (x.dtype, permuted(shape, form)),
    )
    y = Tensor(shape, x.dtype, {form: made})
    return y if bias is None else elementwise(site, "Add", y, constant(bias))


def einsum_dense(site: Site) -> Tensor:
    """EinsumDense: one Einsum with a constant kernel, then the bias."""
    x = site.input
    equation = str(site.config["equation"]).replace(" ", "")
    stored = site.layer.weights.get("kernel")
    kernel = site.weight("kernel", stored.shape if stored is not None else ())
    bias_axes = site.config.get("bias_axes")
    left, _, out = equation.partition("->")
    a, _, b = left.partition(",")
    if "..." in equation:
        count = x.rank - len(a.replace("...", ""))
        used = set(equation)
        dots = "".join([c for c in "ABCDEFGH" if c not in used][:count])
        a, out = a.replace("...", dots), out.replace("...", dots)
    sizes: dict[str, Dim] = dict(zip(a, x.shape, strict=True))
    sizes |= dict(zip(b, kernel.shape, strict=True))
    shape = tuple(sizes[letter] for letter in out)
    matrix = a[:-1] + b[1:] == out and a[-1:] == b[:1] and len(b) == 2
    if matrix:
        y = last_axis_product(site, x, kernel, None)
    else:
        y = einsum(site, f"{a},{b}->{out}", [x, constant(kernel)], shape)
    if bias_axes:
        stored_bias = site.layer.weights.get("bias")
        bias = site.weight("bias", stored_bias.shape if stored_bias is not None else ())
        y = elementwise(site, "Add", y, constant(bias))
    return activate(site, y, site.config.get("activation"))


def embedding(site: Site) -> Tensor:
    """Embedding: rows of a table."""
    x = site.input
    if site.config.get("sparse"):
        raise site.unsupported("makes sparse gradients' lookups")
    rows, width = int(site.config["input_dim"]), int(site.config["output_dim"])
    table = site.weight("embeddings", (rows, width))
    indices = x if x.dtype in ("int32", "int64") else cast(site, x, "int32")
    form = indices.form if not indices.form.flat else plain(x.rank)
    shape: tuple[Dim, ...] = (*x.shape, width)
    new = Form((*form.perm, x.rank))
    made = site.node(
        "Gather",
        [site.constant(table, "embeddings"), value(site, indices, form)],
        (site.dtype, permuted(shape, new)),
        axis=0,
    )
    mask = None
    if site.config.get("mask_zero"):
        zero = constant(np.asarray(0, dtype=np.dtype(indices.dtype)))
        mask = Tensor(x.shape, "bool")
        mask.pending[plain(x.rank)] = lambda: value(
            site, _not_equal(site, indices, zero), plain(x.rank)
        )
    return Tensor(shape, site.dtype, {new: made}, mask=mask)


def reversible_embedding(site: Site) -> Tensor:
    """ReversibleEmbedding: an Embedding, or a product with its table, transposed."""
    reverse = site.argument(1, "reverse", False)
    if not reverse:
        return embedding(site)
    x, config = site.input, site.config
    rows, width = int(config["input_dim"]), int(config["output_dim"])
    dtype = str(config.get("reverse_dtype") or _wider(x.dtype, site.layer.policy.variable))
    if config.get("tie_weights", True):
        kernel = site.weight("embeddings", (rows, width), dtype).T
    else:
        kernel = site.weight("reverse_embeddings", (width, rows), dtype)
    y = last_axis_product(site, cast(site, x, dtype), kernel, None, "reverse_embeddings")
    limit = config.get("logit_soft_cap")
    if limit is None:
        return y
    cap = constant(site.number(float(limit), dtype))
    y = unary(site, "Tanh", elementwise(site, "Div", y, cap))
    return elementwise(site, "Mul", y, cap)


def _wider(one: str, other: str) -> str:
    """The dtype of the product of a value and a variable, neither of which is cast before."""
    if one == other or one not in ("float16", "bfloat16", "float32", "float64"):
        return other
    return "float64" if "float64" in (one, other) else "float32"


def _not_equal(site: Site, left: Tensor, right: Tensor) -> Tensor:
    equal = elementwise(site, "Equal", left, right, dtype="bool")
    return elementwise(site, "Not", equal, dtype="bool")

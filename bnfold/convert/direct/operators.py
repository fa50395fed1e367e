"""Operator nodes of Keras 3 (``x + y``, ``keras.ops.mean(x)``); Keras 2's are mapped to them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bnfold.convert.direct import activations
from bnfold.convert.direct.layout import (
    constant,
    flatten,
    reshape,
    squeeze,
    transpose,
    unsqueeze,
    value,
)
from bnfold.convert.direct.ops import (
    cast,
    concat,
    einsum,
    elementwise,
    gather,
    matmul,
    pad,
    reduce,
    scalar,
    slices,
    softmax,
    split,
    unary,
)
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Tensor, plain
from bnfold.formats.keras.geometry import fill_reshape
from bnfold.formats.keras.graph import float_dtype

Options = Mapping[str, Any]
Rule = Callable[[Site, list[Any], Options], "Tensor | list[Tensor]"]
_FLOATS = ("float64", "float32", "float16", "bfloat16")


def operands(site: Site, values: Sequence[Any], *, to_float: bool = False) -> list[Tensor]:
    """Tensors and plain numbers as tensors of one dtype, as Keras promotes them."""
    tensors = [one for one in values if isinstance(one, Tensor)]
    dtypes = {one.dtype for one in tensors}
    floats = [dtype for dtype in _FLOATS if dtype in dtypes]
    numbers = [np.asarray(one) for one in values if not isinstance(one, Tensor)]
    if floats:
        dtype = floats[0]
    elif to_float or any(one.dtype.kind == "f" for one in numbers):
        dtype = "float32"
    elif len(dtypes) == 1:
        dtype = next(iter(dtypes))
    else:
        raise site.unsupported(f"combines {sorted(dtypes)}")
    return [
        cast(site, one, dtype)
        if isinstance(one, Tensor)
        else constant(np.asarray(one).astype(float_dtype(dtype)))
        for one in values
    ]


def _binary(op: str, *, result: str = "", to_float: bool = False) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        pair = operands(site, args[:2], to_float=to_float)
        return elementwise(site, op, *pair, dtype=result)

    return rule


def _unary(op: str) -> Rule:
    return lambda site, args, options: unary(site, op, args[0])


def _activation(name: str, *options_used: str) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        function: Callable[..., Tensor] = activations.ACTIVATIONS[name]
        given = {key: options[key] for key in options_used if options.get(key) is not None}
        if given:
            function = _PARAMETRIC[name]
            return function(site, args[0], *given.values())
        return function(site, args[0])

    return rule


_PARAMETRIC: Mapping[str, Callable[..., Tensor]] = {
    "celu": activations.celu,
    "elu": activations.elu,
    "gelu": activations.gelu,
    "glu": activations.glu,
    "leaky_relu": activations.leaky_relu,
}


def _softmax(op: str) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        axis = options.get("axis", -1)
        if not isinstance(axis, int):
            raise site.unsupported("takes the softmax over several axes at once")
        return softmax(site, args[0], axis, op)

    return rule


def _relu(site: Site, args: list[Any], options: Options) -> Tensor:
    high = options.get("max_value")
    return activations.relu(
        site,
        args[0],
        float(options.get("alpha") or 0.0),
        None if high is None else float(high),
        float(options.get("threshold") or 0.0),
    )


def _axes(site: Site, x: Tensor, options: Options) -> list[int]:
    axis = options.get("axis")
    if axis is None:
        return list(range(x.rank))
    return [int(one) for one in (axis if isinstance(axis, (list, tuple)) else [axis])]


def _reduction(op: str) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = args[0]
        return reduce(site, op, x, _axes(site, x, options), bool(options.get("keepdims")))

    return rule


def _variance(root: bool) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = args[0]
        axes, keep = _axes(site, x, options), bool(options.get("keepdims"))
        centred = elementwise(site, "Sub", x, reduce(site, "ReduceMean", x, axes, True))
        y = reduce(site, "ReduceMean", elementwise(site, "Mul", centred, centred), axes, keep)
        return unary(site, "Sqrt", y) if root else y

    return rule


def _rsqrt(site: Site, args: list[Any], options: Options) -> Tensor:
    return unary(site, "Reciprocal", unary(site, "Sqrt", args[0]))


def _square(site: Site, args: list[Any], options: Options) -> Tensor:
    return elementwise(site, "Mul", args[0], args[0])


def _quantifier(op: str) -> Rule:
    """Any or All of flags: the largest or smallest of them as numbers."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = args[0]
        numbers = cast(site, x, "float32")
        axes = _axes(site, x, options)
        return cast(site, reduce(site, op, numbers, axes, bool(options.get("keepdims"))), "bool")

    return rule


def _not_equal(site: Site, args: list[Any], options: Options) -> Tensor:
    left, right = operands(site, args[:2])
    equal = elementwise(site, "Equal", left, right, dtype="bool")
    return unary(site, "Not", equal, dtype="bool")


def _log1p(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    return unary(site, "Log", elementwise(site, "Add", x, scalar(site, 1.0, x)))


def _floor_divide(site: Site, args: list[Any], options: Options) -> Tensor:
    left, right = operands(site, args[:2])
    if left.dtype not in _FLOATS:
        raise site.unsupported("divides integers")
    return unary(site, "Floor", elementwise(site, "Div", left, right))


def _clip(site: Site, args: list[Any], options: Options) -> Tensor:
    low, high = (
        args[place] if len(args) > place else options.get(name)
        for place, name in ((1, "x_min"), (2, "x_max"))
    )
    if any(isinstance(limit, (Tensor, list, np.ndarray)) for limit in (low, high)):
        raise site.unsupported("has limits that are no numbers")
    return activations.clip(site, args[0], low, high)


def _where(site: Site, args: list[Any], options: Options) -> Tensor:
    if len(args) != 3 or not isinstance(args[0], Tensor) or args[0].dtype != "bool":
        raise site.unsupported("chooses in a way that has no rule")
    left, right = operands(site, args[1:])
    return elementwise(site, "Where", args[0], left, right, dtype=left.dtype)


def _cast(site: Site, args: list[Any], options: Options) -> Tensor:
    dtype = args[1] if len(args) > 1 else options.get("dtype")
    if isinstance(dtype, dict):
        dtype = dtype.get("config", {}).get("name")
    if not isinstance(dtype, str):
        raise site.unsupported("casts to an unknown dtype")
    return cast(site, args[0], dtype)


def _identity(site: Site, args: list[Any], options: Options) -> Tensor:
    result: Tensor = args[0]
    return result


def _reshape(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    target = options.get("newshape", options.get("shape"))
    target = args[1] if target is None and len(args) > 1 else target
    if not isinstance(target, (list, tuple)) or not all(
        isinstance(one, int) or one is None for one in target
    ):
        raise site.unsupported("reshapes to a shape that is computed")
    sizes = [-1 if one is None else int(one) for one in target]
    if not sizes:
        raise site.unsupported("reshapes to a scalar")
    batch = x.shape[0]
    rest = sizes[1:]
    if sizes[0] == -1 and -1 not in rest and not isinstance(batch, int):
        inner = [one for one in x.shape[1:] if isinstance(one, int)]
        same = len(inner) == x.rank - 1 and int(np.prod(inner)) == int(np.prod(rest))
        return reshape(site, x, (batch if same else site.emitter.fresh_dim(), *rest))
    if sizes[0] == batch:
        return reshape(site, x, (batch, *fill_reshape(x.shape[1:], rest, site.emitter.fresh_dim)))
    return reshape(site, x, fill_reshape(x.shape, sizes, site.emitter.fresh_dim))


def _transpose(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    axes = options.get("axes", args[1] if len(args) > 1 else None)
    order = range(x.rank - 1, -1, -1) if axes is None else axes
    return transpose(site, x, [int(axis) % x.rank for axis in order])


def _swapaxes(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    order = list(range(x.rank))
    first, second = (int(options[key]) % x.rank for key in ("axis1", "axis2"))
    order[first], order[second] = order[second], order[first]
    return transpose(site, x, order)


def _moveaxis(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    pairs = [options[key] for key in ("source", "destination")]
    source, target = ([one] if isinstance(one, int) else list(one) for one in pairs)
    moving = [int(one) % x.rank for one in source]
    order = [axis for axis in range(x.rank) if axis not in moving]
    for place, axis in sorted(zip((int(one) % x.rank for one in target), moving, strict=True)):
        order.insert(place, axis)
    return transpose(site, x, order)


def _expand_dims(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    axis = options.get("axis", args[1] if len(args) > 1 else -1)
    return unsqueeze(site, x, list(axis) if isinstance(axis, (list, tuple)) else [int(axis)])


def _squeeze(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    axis = options.get("axis")
    if axis is None:
        axes = [place for place, dim in enumerate(x.shape) if dim == 1]
    else:
        axes = list(axis) if isinstance(axis, (list, tuple)) else [int(axis)]
    if any(x.shape[place] != 1 for place in axes):
        raise site.unsupported("drops an axis that is not of size 1")
    return squeeze(site, x, axes)


def _concatenate(site: Site, args: list[Any], options: Options) -> Tensor:
    return concat(site, operands(site, args[0]), int(options.get("axis", 0) or 0))


def _stack(site: Site, args: list[Any], options: Options) -> Tensor:
    tensors = operands(site, args[0])
    axis = int(options.get("axis") or 0) % (tensors[0].rank + 1)
    return concat(site, [unsqueeze(site, one, [axis]) for one in tensors], axis)


def _split(site: Site, args: list[Any], options: Options) -> list[Tensor]:
    x = args[0]
    axis = int(options.get("axis") or 0)
    parts = options.get("indices_or_sections")
    dim = x.shape[axis]
    if not isinstance(dim, int):
        raise site.unsupported("splits a size that is free")
    if isinstance(parts, int):
        sizes = [dim // parts] * parts
    else:
        edges = [0, *(int(edge) for edge in parts or ()), dim]
        sizes = [after - before for before, after in itertools.pairwise(edges)]
    return split(site, x, sizes, axis)


def _get_item(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    key = args[1] if len(args) > 1 else options.get("key")
    items = list(key) if isinstance(key, (list, tuple)) else [key]
    return indexed(site, x, items)


def indexed(site: Site, x: Tensor, items: Sequence[Any]) -> Tensor:
    """``x[items]`` with slices, numbers, None and one Ellipsis."""
    used = sum(isinstance(item, (slice, int)) for item in items)
    if Ellipsis in items:
        place = list(items).index(Ellipsis)
        fill = [slice(None)] * (x.rank - used)
        items = [*items[:place], *fill, *items[place + 1 :]]
    cuts: dict[int, tuple[int | None, int | None, int]] = {}
    dropped: list[int] = []
    axis = 0
    for item in items:
        if item is None:
            continue
        if isinstance(item, bool) or not isinstance(item, (slice, int)):
            raise site.unsupported("takes elements by something else than slices and numbers")
        if isinstance(item, int):
            cuts[axis] = (item, item + 1 if item != -1 else None, 1)
            dropped.append(axis)
        else:
            limits = (item.start, item.stop, item.step)
            if any(isinstance(one, Tensor) for one in limits):
                raise site.unsupported("takes a slice whose limits are computed")
            cuts[axis] = (item.start, item.stop, 1 if item.step is None else int(item.step))
        axis += 1
    y = slices(site, x, cuts)
    if dropped:
        y = squeeze(site, y, dropped)
    places = _places(items)
    return unsqueeze(site, y, places) if places else y


def _places(items: Sequence[Any]) -> list[int]:
    """Where the new axes of an index are in its result."""
    places: list[int] = []
    axis = 0
    for item in items:
        if item is None:
            places.append(axis)
        if not isinstance(item, int):
            axis += 1
    return places


def _pad(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    widths = options.get("pad_width", args[1] if len(args) > 1 else None)
    mode = str(options.get("mode", "constant")).lower()
    if mode not in ("constant", "reflect", "edge"):
        raise site.unsupported(f"pads in the mode {mode!r}")
    fill = options.get("constant_values") or 0
    if isinstance(widths, int):
        widths = [[widths, widths]] * x.rank
    pairs = [(int(one[0]), int(one[1])) for one in widths]
    if len(pairs) == 1:
        pairs *= x.rank
    return pad(site, x, pairs, mode, float(fill))


def _tile(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    repeats = [int(one) for one in options.get("repeats", args[1] if len(args) > 1 else ())]
    if len(repeats) != x.rank:
        raise site.unsupported("repeats along other axes than it has")
    shape: list[Dim] = [
        dim if times == 1 else dim * times if isinstance(dim, int) else site.emitter.fresh_dim()
        for dim, times in zip(x.shape, repeats, strict=True)
    ]
    made = site.node(
        "Tile",
        [value(site, x, plain(x.rank)), site.integers(repeats, "repeats")],
        (x.dtype, shape),
    )
    return Tensor(tuple(shape), x.dtype, {plain(x.rank): made})


def _matmul(site: Site, args: list[Any], options: Options) -> Tensor:
    left, right = operands(site, args[:2])
    if min(left.rank, right.rank) < 2:
        raise site.unsupported("multiplies a vector")
    if options.get("transpose_a"):
        left = _turned(site, left)
    if options.get("transpose_b"):
        right = _turned(site, right)
    return matmul(site, left, right)


def _turned(site: Site, x: Tensor) -> Tensor:
    return transpose(site, x, [*range(x.rank - 2), x.rank - 1, x.rank - 2])


def _einsum(site: Site, args: list[Any], options: Options) -> Tensor:
    equation = str(options.get("subscripts") or options.get("equation") or "").replace(" ", "")
    left, arrow, out = equation.partition("->")
    tensors = operands(site, args)
    terms = left.split(",")
    if not arrow or "." in equation or len(terms) != len(tensors):
        raise site.unsupported(f"has the equation {equation!r}")
    sizes: dict[str, Dim] = {}
    for term, tensor in zip(terms, tensors, strict=True):
        sizes |= dict(zip(term, tensor.shape, strict=True))
    return einsum(site, equation, tensors, tuple(sizes[letter] for letter in out))


def _take(site: Site, args: list[Any], options: Options) -> Tensor:
    x, indices = args[0], args[1]
    axis = options.get("axis")
    if axis is None or not isinstance(x, Tensor):
        raise site.unsupported("takes elements of a flattened value")
    if not isinstance(indices, Tensor):
        indices = constant(np.asarray(indices, dtype=np.int64))
    return gather(site, x, indices, int(axis))


def _flip(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    return slices(site, x, dict.fromkeys(_axes(site, x, options), (None, None, -1)))


def _flatten(site: Site, args: list[Any], options: Options) -> Tensor:
    return flatten(site, args[0])


def _not(site: Site, args: list[Any], options: Options) -> Tensor:
    return unary(site, "Not", args[0], dtype="bool")


OPERATORS: Mapping[str, Rule] = {
    "Abs": _unary("Abs"),
    "Absolute": _unary("Abs"),
    "Add": _binary("Add"),
    "All": _quantifier("ReduceMin"),
    "Amax": _reduction("ReduceMax"),
    "Amin": _reduction("ReduceMin"),
    "Any": _quantifier("ReduceMax"),
    "Cast": _cast,
    "Ceil": _unary("Ceil"),
    "Celu": _activation("celu", "alpha"),
    "Clip": _clip,
    "Concatenate": _concatenate,
    "Copy": _identity,
    "Cos": _unary("Cos"),
    "Divide": _binary("Div", to_float=True),
    "Einsum": _einsum,
    "Elu": _activation("elu", "alpha"),
    "Equal": _binary("Equal", result="bool"),
    "Erf": _unary("Erf"),
    "Exp": _unary("Exp"),
    "ExpandDims": _expand_dims,
    "Flatten": _flatten,
    "Flip": _flip,
    "Floor": _unary("Floor"),
    "FloorDivide": _floor_divide,
    "Gelu": _activation("gelu", "approximate"),
    "GetItem": _get_item,
    "Glu": _activation("glu", "axis"),
    "Greater": _binary("Greater", result="bool"),
    "GreaterEqual": _binary("GreaterOrEqual", result="bool"),
    "HardSigmoid": _activation("hard_sigmoid"),
    "HardSilu": _activation("hard_silu"),
    "HardTanh": _activation("hard_tanh"),
    "Identity": _identity,
    "LeakyRelu": _activation("leaky_relu", "negative_slope"),
    "Less": _binary("Less", result="bool"),
    "LessEqual": _binary("LessOrEqual", result="bool"),
    "Log": _unary("Log"),
    "Log1p": _log1p,
    "LogSigmoid": _activation("log_sigmoid"),
    "LogSoftmax": _softmax("LogSoftmax"),
    "LogicalAnd": _binary("And", result="bool"),
    "LogicalNot": _not,
    "LogicalOr": _binary("Or", result="bool"),
    "Logsumexp": _reduction("ReduceLogSumExp"),
    "Matmul": _matmul,
    "Max": _reduction("ReduceMax"),
    "Maximum": _binary("Max"),
    "Mean": _reduction("ReduceMean"),
    "Min": _reduction("ReduceMin"),
    "Minimum": _binary("Min"),
    "Moveaxis": _moveaxis,
    "Multiply": _binary("Mul"),
    "Negative": _unary("Neg"),
    "NotEqual": _not_equal,
    "Pad": _pad,
    "Power": _binary("Pow"),
    "Prod": _reduction("ReduceProd"),
    "Reciprocal": _unary("Reciprocal"),
    "Relu": _relu,
    "Relu6": _activation("relu6"),
    "Reshape": _reshape,
    "Round": _unary("Round"),
    "Rsqrt": _rsqrt,
    "Selu": _activation("selu"),
    "Sigmoid": _activation("sigmoid"),
    "Sign": _unary("Sign"),
    "Silu": _activation("silu"),
    "Sin": _unary("Sin"),
    "Softmax": _softmax("Softmax"),
    "Softplus": _activation("softplus"),
    "Softsign": _activation("softsign"),
    "Split": _split,
    "Sqrt": _unary("Sqrt"),
    "Square": _square,
    "Squareplus": _activation("squareplus"),
    "Squeeze": _squeeze,
    "Stack": _stack,
    "Std": _variance(True),
    "StopGradient": _identity,
    "Subtract": _binary("Sub"),
    "Sum": _reduction("ReduceSum"),
    "Swapaxes": _swapaxes,
    "Take": _take,
    "Tanh": _activation("tanh"),
    "Tile": _tile,
    "Transpose": _transpose,
    "TrueDivide": _binary("Div", to_float=True),
    "Var": _variance(False),
    "Where": _where,
}


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

"""Steps: several values, several calls, models in models."""

from __future__ import annotations

from typing import Any

from .net import NetBuilder, dtype_of, is_float, shape_of


def merge(b: NetBuilder, x: Any) -> Any:
    """Add, Subtract, Multiply, Average, Maximum, Minimum."""
    kinds = ("Add", "Add", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
    kind = b.pick(kinds)
    others = b.partners(x, 1 if kind == "Subtract" else b.pick((1, 1, 2)))
    return b.on(_shuffled(b, [x, *others]), kind)


def _shuffled(b: NetBuilder, values: list[Any]) -> list[Any]:
    return values[::-1] if b.chance(50) else values


def broadcast(b: NetBuilder, x: Any) -> Any:
    """A merge with a value that is spread along some axes."""
    shape = shape_of(x)
    kind = b.pick(("Add", "Multiply", "Subtract", "Maximum", "Average"))
    if len(shape) == 3 and b.chance(50):
        gate = b.on(x, "GlobalAveragePooling2D", keepdims=b.chance(60))
        if len(gate.shape) == 2:
            gate = b.on(gate, "Reshape", (1, 1, int(x.shape[-1])))
        gate = b.on(gate, "Dense", int(x.shape[-1]), activation=b.pick(("sigmoid", "linear")))
        return b.on(_shuffled(b, [x, gate]), kind)
    if len(shape) == 1:
        return b.on(_shuffled(b, [x, b.on(x, "Dense", 1)]), kind)
    spread = tuple(1 if b.chance(50) else one for one in shape)
    if b.chance(15):
        # Keras lets ranks differ, by rules of its own.
        spread = spread[1:]
    return b.on(_shuffled(b, [x, b.input(spread, dtype_of(x))]), kind)


def concatenate(b: NetBuilder, x: Any) -> Any:
    """Concatenate along any axis."""
    axis = b.pick(tuple(range(1, len(x.shape))))
    others = b.partners(x, b.pick((1, 1, 2)))
    alike = [
        one
        for one in b.values
        if len(one.shape) == len(x.shape)
        and dtype_of(one) == dtype_of(x)
        and all(one.shape[i] == x.shape[i] for i in range(len(x.shape)) if i != axis)
    ]
    if alike and b.chance(40):
        others[0] = b.pick(alike)
    place = axis if b.chance(60) else axis - len(x.shape)
    return b.on(_shuffled(b, [x, *others]), "Concatenate", axis=place)


def dot(b: NetBuilder, x: Any) -> Any:
    """Dot of two values."""
    if len(x.shape) not in (2, 3):
        return None
    (other,) = b.partners(x, 1)
    axes = 1 if len(x.shape) == 2 else b.pick((1, 2, (1, 1), (2, 2)))
    return b.on([x, other], "Dot", axes=axes, normalize=b.chance(25))


def again(b: NetBuilder, x: Any) -> Any:
    """A layer that was called before, called again."""
    fitting = [
        layer
        for layer, given in b.called
        if tuple(given.shape)[1:] == tuple(x.shape)[1:] and dtype_of(given) == dtype_of(x)
    ]
    if not fitting:
        return None
    b.marks.add("shared")
    return b.call(b.pick(fitting), x)


def nested(b: NetBuilder, x: Any) -> Any:
    """A model in the model, of a few layers, called once or twice."""
    if x.shape[0] is not None:
        return None
    start = b.keras.layers.Input(shape_of(x), name=b.name("inner_in"), dtype=dtype_of(x))
    y, made = start, []
    wide = int(x.shape[-1]) if isinstance(x.shape[-1], int) else None
    for _ in range(b.chooser.integer(1, 4)):
        kind = b.chooser.integer(0, 4)
        if kind <= 1 and wide:
            layer = b.layer("Dense", wide if b.chance(70) else b.size())
            wide = layer.units
        elif kind == 2:
            layer = b.layer("ReLU")
        elif kind == 3 and len(y.shape) == 4:
            layer = b.layer("Conv2D", wide or 2, 1)
            wide = layer.filters
        else:
            layer = b.layer("BatchNormalization", epsilon=2.0**-10)
        y = layer(y)
        made.append(layer)
    if b.chance(40):
        first = b.keras.layers.Input(shape_of(x), dtype=dtype_of(x))
        model = b.keras.Sequential([first, *made], name=b.name("inner"))
    else:
        model = b.keras.Model(start, y, name=b.name("inner"))
    b.classes["Model"] += 1
    result = b.call(model, x)
    if b.chance(20) and tuple(result.shape) == tuple(x.shape):
        b.marks.add("shared")
        result = b.call(model, result)
    return result


def time_distributed(b: NetBuilder, x: Any) -> Any:
    """TimeDistributed around a layer on the rest of the axes."""
    rank = len(x.shape)
    if rank not in (3, 4, 5):
        return None
    norm: tuple[str, tuple[Any, ...]] = ("BatchNormalization", ())
    kinds: list[tuple[str, tuple[Any, ...]]]
    if rank == 3:
        kinds = [("Dense", (b.size(),)), norm, ("ReLU", ()), ("UnitNormalization", ())]
    elif rank == 4:
        kinds = [("Conv1D", (b.size(), 2)), norm, ("Flatten", ())]
        kinds += [("GlobalAveragePooling1D", ()), ("Dense", (b.size(),)), ("LSTM", (2,))]
    else:
        kinds = [("Conv2D", (b.size(), 1)), ("GlobalMaxPooling2D", ()), ("Flatten", ())]
        kinds += [norm, ("MaxPooling2D", (2,))]
    kind, args = b.pick(kinds)
    options = {"epsilon": 2.0**-10} if kind == norm[0] else {}
    return b.call(b.layer("TimeDistributed", b.layer(kind, *args, **options)), x)


def operator(b: NetBuilder, x: Any) -> Any:
    """Arithmetic, slices, reductions, moves: functions of tensors."""
    if not is_float(x):
        return None
    b.classes["operator"] += 1
    kind = b.chooser.integer(0, 11)
    if kind == 0:
        number = b.pick((2.0, -0.5, 3.0))
        return b.pick(
            (
                lambda: x * number,
                lambda: x + number,
                lambda: number - x,
                lambda: x / number,
                lambda: number * x,
                lambda: -x,
            )
        )()
    if kind == 1:
        (other,) = b.partners(x, 1)
        return b.pick((lambda: x + other, lambda: x - other, lambda: x * other))()
    if kind == 2 and isinstance(x.shape[-1], int):
        constant = b.rng.uniform(0.3, 2.0, size=x.shape[-1]).astype(dtype_of(x))
        return b.pick((lambda: x * constant, lambda: x + constant, lambda: x / constant))()
    if kind == 3 and isinstance(x.shape[-1], int) and x.shape[-1] > 1:
        return x[..., 1:]
    if kind == 4 and len(x.shape) > 2 and isinstance(x.shape[1], int):
        return b.pick((lambda: x[:, -1], lambda: x[:, 0], lambda: x[:, ::2]))()
    if kind == 5 and len(x.shape) > 2:
        return _function(b, "mean")(x, axis=b.pick((1, -1)), keepdims=b.chance(40))
    if kind == 6 and len(x.shape) > 2:
        return _function(b, b.pick(("max", "min", "sum")))(x, axis=b.pick((1, -1)))
    if kind == 7 and len(x.shape) > 2:
        order = (0, *range(len(x.shape) - 1, 0, -1))
        return _function(b, "transpose")(x, order)
    if kind == 8:
        return _function(b, b.pick(("relu", "sigmoid", "abs", "tanh", "square", "exp")))(x)
    if kind == 9:
        return _function(b, "expand_dims")(x, b.pick((1, -1))) if len(x.shape) < 5 else None
    if kind == 10:
        return _function(b, "concatenate")([x, *b.partners(x, 1)], axis=-1)
    if kind == 11:
        (other,) = b.partners(x, 1)
        return _function(b, b.pick(("maximum", "minimum")))(x, other)
    return None


_TF = {
    "mean": "reduce_mean", "max": "reduce_max", "min": "reduce_min", "sum": "reduce_sum",
    "concatenate": "concat", "relu": "nn.relu",
}  # fmt: skip


def _function(b: NetBuilder, name: str) -> Any:
    if b.generation == 3:
        return getattr(b.keras.ops, name)
    import tensorflow

    found: Any = tensorflow
    for part in _TF.get(name, name).split("."):
        found = getattr(found, part)
    return found

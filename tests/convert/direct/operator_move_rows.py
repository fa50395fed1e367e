"""Graphs of one operator each: what moves, takes, makes and lays out elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Row = Callable[[Any, Any], Any]
_PAIR = np.asarray([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0], [2.0, 2.0]], np.float32)


def _whole(ops: Any, x: Any) -> Any:
    return ops.cast(ops.round(x * 3.0), "int32")


MOVED: dict[str, Row] = {
    "append": lambda ops, x: [ops.append(x, x * 2.0, axis=1), ops.append(x, _whole(ops, x))],
    "array_split": lambda ops, x: [
        *ops.array_split(x, 3, axis=1),
        *ops.array_split(x, 4, axis=-1),
    ],
    "broadcast_to": lambda ops, x: [
        ops.broadcast_to(x[0, :1], (4, 6)),
        ops.broadcast_to(x[0, 0], (2, 3, 6)),
    ],
    "concatenate_mixed": lambda ops, x: ops.concatenate([x, _whole(ops, x)], axis=-1),
    "copy": lambda ops, x: ops.stop_gradient(ops.copy(x)) + ops.convert_to_tensor(x),
    "expand_dims_two": lambda ops, x: ops.expand_dims(x, (1, -1)),
    "flip": lambda ops, x: [
        ops.flip(x),
        ops.flip(x, (1, -1)),
        ops.fliplr(x),
        ops.flipud(x),
    ],
    "hstack": lambda ops, x: ops.hstack([x, x * 2.0]),
    "dstack": lambda ops, x: [
        ops.dstack([x, x * 2.0]),
        ops.dstack([x[0], x[1]]),
        ops.dstack([x[0, 0], x[0, 1]]),
    ],
    "vstack": lambda ops, x: [ops.vstack([x, x * 2.0]), ops.vstack([x[0], _whole(ops, x)[1]])],
    "split_names": lambda ops, x: [
        *ops.hsplit(x, 2),
        *ops.dsplit(x, [1, 4]),
        *ops.vsplit(x[0], 2),
        *ops.hsplit(x[0], [2]),
        *ops.hsplit(x[0, 0], 3),
    ],
    "meshgrid": lambda ops, x: [
        *ops.meshgrid(x[0, 0], x[0, :, 0]),
        *ops.meshgrid(x[0, 0], x[0, :, 0], indexing="ij"),
    ],
    "moveaxis_two": lambda ops, x: ops.moveaxis(x, (0, 1), (-1, 0)),
    "pad_fill": lambda ops, x: ops.pad(x, [[0, 0], [1, 2], [0, 1]], constant_values=2.5),
    "pad_pairs": lambda ops, x: ops.pad(x[0], ((1, 2), (0, 3)), mode="reflect"),
    "pad_symmetric": lambda ops, x: ops.pad(x, [[0, 0], [1, 4], [3, 0]], mode="symmetric"),
    "ravel": lambda ops, x: [ops.ravel(x), ops.ravel(ops.transpose(x))],
    "repeat": lambda ops, x: [
        ops.repeat(x, 2, axis=1),
        ops.repeat(x, 3, axis=-1),
        ops.repeat(x, 2),
        ops.repeat(x, 2, axis=0),
        ops.repeat(x, [1, 0, 2, 3], axis=1),
    ],
    "reshape_flat": lambda ops, x: [ops.reshape(x, -1), ops.reshape(x[0], (2, -1))],
    "roll": lambda ops, x: [
        ops.roll(x, 1, axis=1),
        ops.roll(x, -8, axis=-1),
        ops.roll(x, (1, 2), axis=(1, 2)),
        ops.roll(x[0], 5),
        ops.roll(x, 6, axis=2),
    ],
    "rot90": lambda ops, x: [
        *(ops.rot90(x, k, axes=(1, 2)) for k in (-1, 0, 1, 3)),
        ops.rot90(x[:, :, 2:], 2, axes=(1, 2)),
        ops.rot90(x, axes=(2, 0)),
        ops.rot90(x[0]),
    ],
    "split_uneven_axis": lambda ops, x: ops.split(x, [2], axis=1),
    "squeeze_all": lambda ops, x: ops.squeeze(ops.expand_dims(x[0], (1, 2))),
    "stack_mixed": lambda ops, x: ops.stack([x, _whole(ops, x)], axis=-1),
    "tile": lambda ops, x: [ops.tile(x, 2), ops.tile(x, [2, 1, 1, 3]), ops.tile(x[0, 0], [3])],
    "unstack": lambda ops, x: [*ops.unstack(x, axis=1), *ops.unstack(x, 6, axis=-1)],
}

TAKEN: dict[str, Row] = {
    "get_item_mixed": lambda ops, x: [x[..., None, 0], x[:, ::-1, 1:-1], x[:, -3:-1, None]],
    "scatter": lambda ops, x: ops.scatter(
        np.asarray([[1, 0], [3, 2], [1, 0]]), x[0, 0, :3], (4, 6)
    ),
    "scatter_update": lambda ops, x: [
        ops.scatter_update(x[0], np.asarray([[1, 0], [3, 2]]), x[1, 0, :2]),
        ops.scatter_update(x[0], np.asarray([[2], [0]]), x[1, :2]),
    ],
    "scatter_add": lambda ops, x: [
        ops.scatter_update(x[0], np.asarray([[1, 0], [1, 0]]), x[1, 0, :2], reduction=how)
        for how in ("add", "max", "min", "mul")
    ],
    "slice": lambda ops, x: [
        ops.slice(x[0], (1, 2), (2, 3)),
        ops.slice(x[0], np.asarray([0, 2]), (4, 4)),
    ],
    "slice_update": lambda ops, x: [
        ops.slice_update(x[0], (1, 2), x[1, :2, :3]),
        ops.slice_update(x[0], (3, 4), x[1, :2, :3]),
        ops.slice_update(x[0], (0, 2), x[1, :, :1]),
    ],
    "take": lambda ops, x: [
        ops.take(x, [2, 0, -1], axis=2),
        ops.take(x, 1, axis=1),
        ops.take(x, [[0, 1], [2, -1]], axis=-1),
        ops.take(x, [3, 25]),
        ops.take(_PAIR, ops.abs(_whole(ops, x)) % 4, axis=0),
    ],
    "take_along_axis": lambda ops, x: [
        ops.take_along_axis(x, ops.argsort(x, axis=1), axis=1),
        ops.take_along_axis(x, ops.argmax(x, axis=2, keepdims=True), axis=-1),
        ops.take_along_axis(x, np.asarray([[[0], [-1], [2], [1]]]), axis=2),
        ops.take_along_axis(x[0], np.asarray([[0, 3, 2, 1, -1, 0]]), axis=0),
        ops.take_along_axis(x[0], np.asarray([5, 1])),
    ],
}

MADE: dict[str, Row] = {
    "diag": lambda ops, x: [
        ops.diag(x[0]),
        ops.diag(x[0], 2),
        ops.diag(x[0], -1),
        ops.diag(x[0, 0]),
        ops.diag(x[0, 0], 2),
        ops.diag(x[0, 0], -3),
        ops.diagflat(x[0], 1),
    ],
    "diagonal": lambda ops, x: [
        ops.diagonal(x, axis1=1, axis2=2),
        ops.diagonal(x, 1, axis1=2, axis2=1),
        ops.diagonal(x, -2, axis1=-2, axis2=-1),
        ops.diagonal(x[0]),
    ],
    "filled": lambda ops, x: [
        ops.full_like(x, 2.5),
        ops.full_like(x, 3, dtype="int32"),
        ops.ones_like(x, dtype="float16"),
        ops.zeros_like(_whole(ops, x)),
        ops.empty_like(x) * 0.0,
        ops.full_like(x, x[0, 0]),
        ops.full((2, 3), x[0, 0, 0]),
        ops.full((2, 6), x[0, 0]),
    ],
    "linspace": lambda ops, x: [
        ops.linspace(x[0], x[1], 5),
        ops.linspace(x, x * 2.0, 4, axis=-1),
        ops.linspace(x, 1.0, 5, endpoint=False),
        ops.linspace(x[0], x[1], 1),
    ],
    "multi_hot": lambda ops, x: [
        ops.multi_hot(_whole(ops, x[:, 0]), 5),
        ops.multi_hot(_whole(ops, x[0, 0]), 5),
        ops.multi_hot(_whole(ops, x), 5, dtype="int32"),
    ],
    "ndim": lambda ops, x: ops.size(x) + ops.size(x[0]),
    "one_hot": lambda ops, x: [
        ops.one_hot(_whole(ops, x), 5),
        ops.one_hot(_whole(ops, x), 3, axis=1, dtype="int32"),
        ops.one_hot(_whole(ops, x[0, 0]), 6, axis=0),
        ops.one_hot(_whole(ops, x), 4, dtype="bool"),
    ],
    "trace": lambda ops, x: [
        ops.trace(x, axis1=1, axis2=2),
        ops.trace(_whole(ops, x[0])),
        ops.trace(x[0] > 0),
    ],
    "triangles": lambda ops, x: [
        ops.tril(x),
        ops.triu(x),
        ops.tril(x, -1),
        ops.tril(x, 2),
        ops.triu(x, 1),
        ops.triu(_whole(ops, x), -2),
        ops.tril(x[0]),
    ],
    "vander": lambda ops, x: [
        ops.vander(x[0, 0]),
        ops.vander(x[0, 0], 3, increasing=True),
        ops.vander(_whole(ops, x[0, 0]), 3),
    ],
}

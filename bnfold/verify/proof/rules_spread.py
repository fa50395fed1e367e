"""Laws of the ops that repeat elements or move them between channels and space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import Form, Trace, UnfitError, shrunk, varies
from bnfold.verify.proof.normal_forms import passing
from bnfold.verify.proof.rounding import EXACT, FLOAT32, GRAINS
from bnfold.verify.proof.rules_affine import computed, homogeneous
from bnfold.verify.proof.rules_move import ranked, rearranged
from bnfold.verify.proof.rules_nonlinear import operand_key
from bnfold.verify.proof.source import Op
from bnfold.verify.proof.space import Space


def expand(space: Space, op: Op) -> list[Form]:
    """Expand: parameters broadcast as before."""
    form, shape = ranked(op.input(0)), op.shape()
    if shape is None:
        raise UnfitError("rank unknown")
    known = op.input(1)
    dims = shape if all(isinstance(dim, int) for dim in shape) else None
    key = ("expand", dims if dims is not None else operand_key(space, known))
    return [rearranged(space, op, form.aligned(len(shape)), key, shape, lambda a: a)]


def tile(space: Space, op: Op) -> list[Form]:
    """Tile."""
    form, repeats = ranked(op.input(0)), op.input(1)
    if not isinstance(repeats, Const):
        raise UnfitError("repeats are computed")
    counts = repeats.ints()

    def move(array: NDArray[Any]) -> NDArray[Any]:
        return np.tile(array, [c if s > 1 else 1 for c, s in zip(counts, array.shape, strict=True)])

    return [rearranged(space, op, form, ("tile", counts), op.shape_of_rank(len(counts)), move)]


#: Largest array of parameters (elements) that is spread out in space.
MAX_SPREAD = 4_000_000


def depth_to_space(space: Space, op: Op) -> list[Form]:
    """DepthToSpace; where the size of the image is open, of parameters equal in each block."""
    form = space.anchored(computed(op.input(0)))
    if form.shape is None or len(form.shape) != 4 or form.base is None:
        raise UnfitError("no image")
    cut = _Blocks(op.integer("blocksize", 1), op.text("mode", "DCR") == "DCR")
    sizes = [dim for dim in form.shape[1:] if isinstance(dim, int)]
    key = ("depth to space", cut.size, cut.depth_first)
    if len(sizes) == 3 and prod(sizes) <= MAX_SPREAD:
        return [
            rearranged(space, op, form, key, op.shape_of_rank(4), lambda a: cut.spread(a, sizes))
        ]
    channels = form.shape[1]
    if not isinstance(channels, int) or channels % cut.size**2:
        raise UnfitError("number of channels unknown")
    # A shift that differs within the blocks stays with the base, up to its first element.
    shared = cut.first(form.const, channels)
    spread = cut.back(shared)
    inner = homogeneous(space, form.plus(-spread, np.abs(spread), 0 * spread, EXACT))
    blocks = cut.blocks(inner.coef, channels)
    if inner.base is None or np.any(blocks != blocks[:1]):
        raise UnfitError("scale varies within a block")
    traces = [
        Trace(rows.reshape(1, -1, 1, 1), ratio.reshape(1, -1, 1, 1), trace.kernels)
        for trace in inner.base.traces
        if trace.rows.ndim == 4 and trace.rows.shape[1] == channels
        for rows, ratio in zip(
            cut.blocks(trace.rows, channels), cut.blocks(trace.ratio, channels), strict=True
        )
    ]
    base = space.intern((*key, inner.base.id), op.shape_of_rank(4), op.dtype(), traces)
    result = replace(
        inner.moved(base, op.shape_of_rank(4), lambda a: cut.first(a, channels)),
        const=shared,
        mag=cut.first(form.mag, channels),
        unit=cut.first(form.unit, channels),
        dtype=op.dtype() or form.dtype,
    )
    return [result]


@dataclass(frozen=True)
class _Blocks:
    """How DepthToSpace cuts channels into blocks."""

    size: int
    depth_first: bool

    def spread(self, array: NDArray[Any], sizes: list[int]) -> NDArray[Any]:
        """Parameters moved as the elements are, all sizes known."""
        if not varies(array, (1, 2, 3)):
            return array
        channels, height, width = sizes
        each = channels // self.size**2
        full = np.broadcast_to(array, (array.shape[0], *sizes))
        if self.depth_first:
            parts = full.reshape(-1, self.size, self.size, each, height, width)
            moved = parts.transpose(0, 3, 4, 1, 5, 2)
        else:
            parts = full.reshape(-1, each, self.size, self.size, height, width)
            moved = parts.transpose(0, 1, 4, 2, 5, 3)
        return shrunk(moved.reshape(-1, each, height * self.size, width * self.size))

    def blocks(self, array: NDArray[Any], channels: int) -> NDArray[Any]:
        """Parameters as (place within the block, channel of the result)."""
        if array.ndim != 4 or varies(array, (0, 2, 3)):
            raise UnfitError("parameters vary in space")
        flat = np.broadcast_to(array.reshape(-1), channels)
        count = self.size**2
        return flat.reshape(count, -1) if self.depth_first else flat.reshape(-1, count).T

    def first(self, array: NDArray[Any], channels: int) -> NDArray[Any]:
        """Parameters of each block's first place, on the result."""
        return np.asarray(self.blocks(array, channels)[0].reshape(1, -1, 1, 1))

    def back(self, array: NDArray[Any]) -> NDArray[Any]:
        """One parameter per channel of the result, on the operand."""
        spread = np.broadcast_to(array.reshape(1, -1), (self.size**2, array.size))
        return (spread if self.depth_first else spread.T).reshape(1, -1, 1, 1)


def space_to_depth(space: Space, op: Op) -> list[Form]:
    """SpaceToDepth; where the size of the image is open, of parameters constant in space."""
    form, block = space.anchored(ranked(op.input(0))), op.integer("blocksize", 1)
    sizes = [dim for dim in (form.shape or ())[1:] if isinstance(dim, int)]
    exact = len(sizes) == 3 and prod(sizes) <= MAX_SPREAD

    def move(array: NDArray[Any]) -> NDArray[Any]:
        if not varies(array, (2, 3)):
            return np.tile(array, (1, block**2, 1, 1)) if array.shape[1] > 1 else array
        if not exact:
            raise UnfitError("parameters vary in space")
        channels, height, width = sizes
        full = np.broadcast_to(array, (array.shape[0], *sizes))
        parts = full.reshape(-1, channels, height // block, block, width // block, block)
        moved = parts.transpose(0, 3, 5, 1, 2, 4)
        return shrunk(moved.reshape(-1, channels * block**2, height // block, width // block))

    return [rearranged(space, op, form, ("space to depth", block), op.shape_of_rank(4), move)]


def resize(space: Space, op: Op) -> list[Form]:
    """Resize and Upsample: each result is an average whose weights sum to 1."""
    form = space.anchored(ranked(op.input(0)))
    before = form.shape or ()
    shape = op.shape_of_rank(len(before))
    if form.dtype not in GRAINS:
        raise UnfitError("no floats of known rank")
    mode = op.text("coordinate_transformation_mode", "")
    if mode in ("tf_crop_and_resize", "tf_half_pixel_for_nn"):
        raise UnfitError("elements from outside, or moved by half of one")
    scales = op.input(2 if op.op_type == "Resize" and op.version >= 11 else 1)
    if isinstance(scales, Const) and scales.value.size == len(before):
        # Where the inference knows no dims, the scales say which axes stay.
        still = scales.real.reshape(-1) == 1
        shape = tuple(a if s else b for a, b, s in zip(before, shape, still, strict=True))
        moving = tuple(np.flatnonzero(~still).tolist())
    else:
        moving = tuple(
            i for i, (a, b) in enumerate(zip(before, shape, strict=True)) if a != b or a is None
        )
    form = passing(space, form, moving)
    key = (
        op.op_type,
        op.since,
        op.attribute_key,
        tuple(operand_key(space, known) for known in op.inputs[1:]),
    )
    return [rearranged(space, op, form, key, shape, lambda a: a)]


def pad(space: Space, op: Op) -> list[Form]:
    """Pad: by reflection or repetition all passes, by a constant a scale around it."""
    form = space.anchored(computed(op.input(0)))
    if form.shape is None:
        raise UnfitError("rank unknown")
    rank = len(form.shape)
    known = op.input(1)
    pads = (
        known.ints()
        if isinstance(known, Const)
        else (op.integers("pads") or op.integers("paddings"))
    )
    if not pads or op.input(3) is not None:
        raise UnfitError("pads are computed")
    padded = tuple(i for i in range(rank) if pads[i] or pads[i + rank])
    mode = op.text("mode", "constant")
    key = ("pad", mode, pads)
    if mode != "constant":
        inner = passing(space, form, padded)
        return [rearranged(space, op, inner, key, op.shape_of_rank(rank), lambda a: a)]
    value = op.input(2)
    filler, grain = op.real("value", 0.0), FLOAT32
    if isinstance(value, Const):
        filler, grain = float(value.real.reshape(-1)[0]), value.grain
    if not np.isfinite(filler) or isinstance(value, Form):
        raise UnfitError("pad value is not a finite constant")
    if min(pads) < 0:
        raise UnfitError("negative pads")
    around = np.full((1,) * rank, filler)
    unit = grain.spacing(np.abs(around)) if filler else 0 * around
    centred = form.plus(-around, np.abs(around), unit, grain)
    inner = passing(space, centred.lean(), padded, shift="none")
    result = rearranged(space, op, inner, key, op.shape_of_rank(rank), lambda a: a)
    return [result.plus(around, np.abs(around), unit, grain)]

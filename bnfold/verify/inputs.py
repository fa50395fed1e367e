"""Inputs to run two models on: drawn from the interface, or the user's own."""

from __future__ import annotations

import io
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.core.errors import InputError
from bnfold.formats.atomic import write_atomically
from bnfold.verify.interface import feedable, required
from bnfold.verify.roles import Kind, Role, roles_of

Array = NDArray[Any]
Feed = dict[str, Array]

logger = logging.getLogger(__name__)

# Sizes that are tried for a symbolic dimension that is not the batch, per rank of the input.
_IMAGE_SIZES = (32, 64, 48, 96, 128, 224, 28, 256, 320, 299, 16, 8)
_SEQUENCE_SIZES = (8, 5, 16, 32, 3, 64, 128, 1, 2, 4)
# How many different sizes of the symbolic dimensions are used where they are found to run.
_VARIETY = 2


class NoInputsError(InputError):
    """No inputs can be drawn for this model; the text says why and asks for the user's own."""


# --------------------------------------------------------------------------- generated


def generate_inputs(
    model: ir.Model,
    *,
    samples: int = 64,
    seed: int = 0,
    accepts: Callable[[Feed], bool] | None = None,
    overrides: bool = True,
) -> list[Feed]:
    """Inputs drawn from the interface, `samples` rows in all, in feeds of different sizes.

    The first axis is taken for the batch where it is symbolic. Other symbolic dimensions get
    several sizes, of which those that the model accepts are used. Integers that index a table stay
    inside it; data that a normalization expects is drawn with that normalization's own mean and
    variance; masks and sequence lengths are drawn as such.

    Args:
        model: whose inputs are drawn.
        samples: rows in all.
        seed: of the random numbers; the same seed gives the same inputs.
        accepts: says whether the model runs on a feed; None takes the first proposal.
        overrides: some feeds also give other values to floating-point initializers that callers
            may override, where the model runs with them.

    Raises:
        NoInputsError: if some input cannot be drawn, or no proposal is accepted.
    """
    roles = roles_of(model)
    for role in roles:
        if role.kind is Kind.UNSUPPORTED:
            raise NoInputsError(
                f"No inputs can be generated for '{role.name}': {role.reason}. "
                "Give inputs of your own."
            )
    rng = np.random.default_rng(seed)
    plans = _accepted_plans(roles, rng, accepts)
    feeds: list[Feed] = []
    for plan, rows in zip(itertools.cycle(plans), _batches(plans[0].fixed, samples)):
        feeds.append(_draw_all(plan, rows, rng, len(feeds)))
    if overrides:
        _override(model, feeds, rng, accepts)
    return feeds


def _override(
    model: ir.Model,
    feeds: list[Feed],
    rng: np.random.Generator,
    accepts: Callable[[Feed], bool] | None,
) -> None:
    """Every third feed, and the only one, also feeds what callers may override."""
    fed = {value.name for value in required(model)}
    tensors = {
        value.name or "": value.const_value.numpy()
        for value in feedable(model)
        if value.name not in fed and value.const_value is not None
    }
    floats = {name: array for name, array in tensors.items() if array.dtype.kind == "f"}
    if not floats:
        return
    for number in range(1 if len(feeds) > 1 else 0, len(feeds), 3):
        extra = {
            name: np.asarray(array * (1 + 0.25 * rng.standard_normal(array.shape))).astype(
                array.dtype
            )
            for name, array in floats.items()
        }
        if accepts is not None and not accepts({**feeds[number], **extra}):
            return
        feeds[number].update(extra)


@dataclass(frozen=True)
class _Plan:
    """Sizes for every symbolic dimension.

    Attributes:
        roles: the inputs.
        sizes: by symbol; anonymous dimensions are named by input and axis.
        batch: the symbols that are the batch.
        fixed: size of the first axis where it is no symbol, None where it is.
        limit: integers that index no known table are drawn below this.
    """

    roles: tuple[Role, ...]
    sizes: Mapping[str, int]
    batch: frozenset[str]
    fixed: int | None


def _symbol(role: Role, axis: int) -> str:
    dim = (role.shape or ())[axis]
    return dim if isinstance(dim, str) and dim else f"{role.name}[{axis}]"


def _proposals(roles: tuple[Role, ...]) -> Iterator[_Plan]:
    batch, others = set(), {}
    told: dict[str, int] = {}
    fixed = None
    for role in roles:
        for axis, dim in enumerate(role.shape or ()):
            if isinstance(dim, int) and dim > 0:
                if axis == 0 and fixed is None:
                    fixed = dim
            elif axis == 0:
                batch.add(_symbol(role, axis))
            else:
                others[_symbol(role, axis)] = _candidates(role, axis)
                told.update({_symbol(role, axis): size for size in _told(role, axis)})
    others = {name: sizes for name, sizes in others.items() if name not in batch}
    if batch or not roles:
        fixed = None if batch else 1
    base = _Plan(roles, {}, frozenset(batch), fixed)
    if not others:
        yield base
        return
    longest = max(len(sizes) for sizes in others.values())
    for turn in range(longest):
        sizes = {name: sizes[turn % len(sizes)] for name, sizes in others.items()}
        yield replace(base, sizes=sizes | told)
    for size in (1, 3, 4):  # channels, and models that want all sizes alike
        yield replace(base, sizes=dict.fromkeys(others, size) | told)


def _told(role: Role, axis: int) -> tuple[int, ...]:
    """The size that a normalization by channel gives away, if one reads the input."""
    rank = len(role.shape or ())
    shapes = [np.shape(array) for array in (role.mean, role.std)]
    sizes = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(size[axis] for size in sizes if size[axis] > 1)


def _candidates(role: Role, axis: int) -> tuple[int, ...]:
    rank = len(role.shape or ())
    if role.kind is Kind.NORMAL and rank >= 4:
        if axis == 1 and all(not isinstance(d, int) for d in (role.shape or ())[1:]):
            return (3, 1, 4)
        return _IMAGE_SIZES
    return _SEQUENCE_SIZES


def _accepted_plans(
    roles: tuple[Role, ...],
    rng: np.random.Generator,
    accepts: Callable[[Feed], bool] | None,
) -> list[_Plan]:
    plans: list[_Plan] = []
    tried = 0
    state = rng.bit_generator.state
    for plan in _variants(roles):
        tried += 1
        if accepts is None or accepts(_draw_all(plan, plan.fixed or 1, rng, 0)):
            plans.append(plan)
        if plans and (len(plans) == _VARIETY or not plan.sizes or accepts is None):
            break
    rng.bit_generator.state = state
    if not plans:
        raise NoInputsError(
            f"The model runs on none of {tried} generated inputs. Give inputs of your own."
        )
    return plans


def _variants(roles: tuple[Role, ...]) -> Iterator[_Plan]:
    """Size proposals; then the same with integers that a table of two rows can hold."""
    yield from _proposals(roles)
    timid = tuple(
        replace(role, limit=2) if role.kind is Kind.INTEGER and role.limit > 2 else role
        for role in roles
    )
    if timid != roles:
        yield from _proposals(timid)


def _batches(fixed: int | None, samples: int) -> Iterator[int]:
    """Rows per feed: 1, 3, then eights, so that more than one batch size is seen."""
    if fixed is not None:
        yield from itertools.repeat(fixed, max(1, -(-samples // max(1, fixed))))
        return
    left = max(1, samples)
    for rows in itertools.chain((1, 3), itertools.repeat(8)):
        if left <= 0:
            return
        yield min(rows, left)
        left -= rows


def _draw_all(plan: _Plan, rows: int, rng: np.random.Generator, turn: int) -> Feed:
    feed: Feed = {}
    for role in plan.roles:
        shape = []
        for axis, dim in enumerate(role.shape or ()):
            symbol = _symbol(role, axis)
            if isinstance(dim, int) and dim > 0:
                shape.append(dim)
            elif symbol in plan.batch:
                shape.append(rows)
            else:
                shape.append(plan.sizes[symbol])
        feed[role.name] = _draw(role, tuple(shape), rng, turn, feed)
    return feed


def _draw(
    role: Role, shape: tuple[int, ...], rng: np.random.Generator, turn: int, before: Feed
) -> Array:
    """One input. Of four feeds one is three times as wide, to wake channels that are silent on
    ordinary data, and one uniform, for other tails.
    """
    dtype = role.dtype or np.dtype(np.float32)
    if role.kind is Kind.BOOLEAN:
        return rng.random(shape) < 0.5
    if role.kind is Kind.INTEGER:
        return rng.integers(0, role.limit, shape).astype(dtype)
    if role.kind is Kind.MASK:
        return _mask(shape, rng).astype(dtype)
    if role.kind is Kind.LENGTH:
        longest = max((v.shape[0] for v in before.values() if v.ndim == 3), default=4)
        return rng.integers(1, longest + 1, shape).astype(dtype)
    if role.kind is Kind.TEXT:
        return np.array(rng.choice(["a", "b", "1", ""], shape), dtype=object)
    if turn % 4 == 3:
        width = np.sqrt(3.0)  # unit variance
        draw = rng.uniform(-width, width, shape)
    else:
        draw = rng.standard_normal(shape) * (3.0 if turn % 4 == 2 else 1.0)
    return np.asarray(draw * role.std + role.mean).astype(dtype)


def _mask(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Ones, then zeros, along the last axis: what padding leaves."""
    if not shape:
        return np.ones(())
    kept = rng.integers(1, shape[-1] + 1, (*shape[:-1], 1))
    return np.asarray(np.arange(shape[-1]) < kept)


# --------------------------------------------------------------------------- the user's own


def load_inputs(source: object, model: ir.Model) -> list[Feed]:
    """The user's inputs as feeds, exactly as they are.

    Args:
        source: arrays by name; a list or tuple of arrays in the order of the inputs; one array; a
            path to an .npz (arrays by name), an .npy (the only input) or an ONNX test_data_set
            folder or its parent; or an iterable of any of these, one feed each.
        model: whose inputs they are.

    Raises:
        InputError: if they cannot be read, or do not fit the inputs.
    """
    names = [value.name or "" for value in required(model)]
    allowed = {value.name or "" for value in feedable(model)}
    values = {value.name or "": value for value in feedable(model)}
    feeds = [_fitting(_checked(f, names, allowed), values) for f in _feeds(source, names)]
    if not feeds:
        raise InputError("The given inputs are empty.")
    return feeds


def _feeds(source: object, names: list[str]) -> Iterator[Feed]:
    if isinstance(source, Mapping):
        yield {str(name): _array(value) for name, value in source.items()}
    elif isinstance(source, str | Path):
        yield from _from_path(Path(source), names)
    elif isinstance(source, np.ndarray | np.generic):
        yield _by_position([source], names)
    elif isinstance(source, list | tuple) and all(_is_array(item) for item in source):
        yield _by_position(list(source), names)
    elif isinstance(source, Iterable):
        for item in source:
            yield from _feeds(item, names)
    else:
        raise InputError(f"Inputs cannot be read from {type(source).__name__}.")


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray | np.generic | int | float)


def _array(value: object) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"An input is not an array: {error}") from error
    return array.astype(object) if array.dtype.kind in "US" else array


def _by_position(arrays: list[Any], names: list[str]) -> Feed:
    if len(arrays) != len(names):
        raise InputError(
            f"{len(arrays)} input arrays were given, but the model has {len(names)} inputs: "
            f"{', '.join(names)}."
        )
    return dict(zip(names, (_array(a) for a in arrays), strict=True))


def _checked(feed: Feed, names: list[str], allowed: set[str]) -> Feed:
    missing = [name for name in names if name not in feed]
    unknown = [name for name in feed if name not in allowed]
    if missing:
        raise InputError(
            f"The inputs lack '{missing[0]}'; they hold {', '.join(feed) or 'nothing'}."
        )
    if unknown:
        raise InputError(f"The model has no input '{unknown[0]}'; it has {', '.join(names)}.")
    return feed


def _fitting(feed: Feed, values: Mapping[str, ir.Value]) -> Feed:
    """The feed in the types and shapes that the model takes; no value of it changes."""
    return {name: _fitted(name, array, values[name]) for name, array in feed.items()}


def _fitted(name: str, array: Array, value: ir.Value) -> Array:
    if array.dtype != object and value.dtype is not None:
        kind = np.dtype(value.dtype.numpy())
        given, array = (
            array,
            array.astype(kind, copy=False) if kind.kind == array.dtype.kind else array,
        )
        if array.dtype != kind or not np.array_equal(given, array, equal_nan=kind.kind == "f"):
            raise InputError(
                f"Input '{name}' holds {given.dtype}, and the model takes {kind}: convert it, as "
                f"by array.astype('{kind}')."
            )
    if value.shape is None:
        return array
    dims = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
    if len(dims) != array.ndim or any(
        isinstance(dim, int) and dim != size for dim, size in zip(dims, array.shape, strict=True)
    ):
        shape = ", ".join(str(dim or "?") for dim in dims)
        raise InputError(
            f"Input '{name}' has the shape {list(array.shape)}, and the model takes [{shape}]."
        )
    return array


def _from_path(path: Path, names: list[str]) -> Iterator[Feed]:
    if path.is_dir():
        yield from _from_folder(path, names)
        return
    if not path.is_file():
        raise InputError(f"{path}: there is no such file of inputs.")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            feed = _by_position([loaded], names)
        else:
            with loaded:
                feed = {name: _array(loaded[name]) for name in loaded.files}
    except InputError:
        raise
    except Exception as error:  # damaged bytes make zipfile and NumPy raise some ten kinds
        raise InputError(f"{path}: not an .npz or .npy file of inputs ({error}).") from error
    yield feed


def _from_folder(path: Path, names: list[str]) -> Iterator[Feed]:
    """input_0.pb, input_1.pb, ... of an ONNX test_data_set_N folder, or of each in a folder."""
    files = sorted(path.glob("input_*.pb"), key=_number)
    if not files:
        folders = sorted(path.glob("test_data_set_*"), key=_number)
        if not folders:
            raise InputError(f"{path}: holds neither input_*.pb files nor test_data_set_* folders.")
        for folder in folders:
            yield from _from_folder(folder, names)
        return
    arrays, by_name = [], {}
    for file in files:
        tensor = onnx.TensorProto()
        try:
            tensor.ParseFromString(file.read_bytes())
            array = onnx.numpy_helper.to_array(tensor)
        except Exception as error:
            raise InputError(f"{file}: not a tensor in protobuf form.") from error
        arrays.append(array)
        by_name[tensor.name] = _array(array)
    yield by_name if set(names) <= set(by_name) else _by_position(arrays, names)


def _number(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdigit() else 0


def rows_of(feed: Feed) -> int:
    """How many rows a feed holds: the size of the first axis of its first array."""
    return next((int(v.shape[0]) for v in feed.values() if v.ndim), 1)


def save_feed(feed: Feed, path: Path) -> Path:
    """Write a feed as .npz, which `load_inputs` reads; a suffix is added where it is missing.

    A file of that name is replaced.
    """
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    arrays = {
        name: value.astype(str) if value.dtype == object else value for name, value in feed.items()
    }
    data = io.BytesIO()
    np.savez(data, **arrays)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data.getvalue(), force=True)
    return path

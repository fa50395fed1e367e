"""From a seed to a recipe, and from a recipe to a net."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np

from bnfold.formats.keras.graph import float_dtype

from . import affines, joins, kernels, sequences, shapes
from .net import (
    SIZES,
    VOCABULARY,
    Net,
    NetBuilder,
    Recipe,
    Step,
    chooser_of,
    dtype_of,
    dtype_policy,
    is_float,
)

MOST_ELEMENTS = 600

# Weights of the steps of a chain, then of those that need a graph.
_CHAIN: tuple[tuple[int, Step], ...] = (
    (5, kernels.dense),
    (2, kernels.einsum_dense),
    (6, kernels.conv),
    (2, kernels.depthwise),
    (2, kernels.separable),
    (3, kernels.transposed),
    (1, kernels.spectral),
    (4, affines.batch_norm),
    (1, affines.normalization),
    (1, affines.rescaling),
    (1, affines.layer_norm),
    (1, affines.group_norm),
    (1, affines.other_norm),
    (4, affines.activation),
    (1, affines.training_only),
    (3, shapes.pooling),
    (2, shapes.global_pooling),
    (2, shapes.padding),
    (1, shapes.cropping),
    (1, shapes.upsampling),
    (1, shapes.resizing),
    (2, shapes.flatten),
    (2, shapes.reshape),
    (2, shapes.permute),
    (1, shapes.repeat_vector),
    (1, sequences.masking),
    (3, sequences.recurrent),
    (2, sequences.bidirectional),
    (2, joins.time_distributed),
)
_GRAPH: tuple[tuple[int, Step], ...] = (
    (5, joins.merge),
    (2, joins.broadcast),
    (3, joins.concatenate),
    (1, joins.dot),
    (2, joins.again),
    (2, joins.nested),
    (5, joins.operator),
    (1, sequences.continued),
    (2, sequences.multi_head),
    (1, sequences.attention),
)
_OF_IDS: tuple[Step, ...] = (kernels.embedding, kernels.embedding, shapes.encoding)
_LINEAR = ("dense", "conv", "dense", "conv", "transposed", "recurrent", "einsum_dense")
_AFFINE = ("batch_norm", "batch_norm", "batch_norm", "normalization", "rescaling")
STEPS: dict[str, Step] = {step.__name__: step for _, step in (*_CHAIN, *_GRAPH)}
STEPS |= {step.__name__: step for step in _OF_IDS}
_POLICIES = ("float64",) * 10 + ("float32",) * 5 + ("mixed_float16", "float16")


def random_recipe(seed: int, generation: int = 0) -> Recipe:
    """The recipe of a seed; ``generation`` 0 lets chance choose."""
    rng = random.Random(seed)
    drawn = generation or rng.choice((3, 3, 2))
    sequential = rng.random() < 0.2
    table = _CHAIN if sequential else (*_CHAIN, *_GRAPH)
    names = [step.__name__ for weight, step in table for _ in range(weight)]
    # Keras 2 cannot load what it saves of bfloat16.
    policy = rng.choice(_POLICIES if drawn == 2 else (*_POLICIES, "mixed_bfloat16"))
    count = rng.randint(2, 9)
    steps: list[str] = []
    for number in range(count):
        ends = number in (0, count - 1)
        steps.append(rng.choice(_LINEAR if ends and rng.random() < 0.5 else names))
        if rng.random() < 0.4:
            steps.append(rng.choice(_AFFINE))
    numbered = tuple((name, rng.randrange(2**31)) for name in steps)
    return Recipe(drawn, policy, seed, numbered, sequential)


def grow(recipe: Recipe, keras: Any) -> Net:
    """The net of a recipe, with random weights and inputs."""
    keras.backend.clear_session()
    rng = np.random.default_rng(recipe.seed)
    b = NetBuilder(keras, recipe.generation, recipe.policy, chooser_of(recipe.seed), rng)
    b.chain_only = recipe.sequential
    with dtype_policy(keras, recipe.policy):
        batch, model = _grow(b, recipe)
    randomize(model, np.random.default_rng(recipe.seed + 1))
    arrays = [_array(one, batch, np.random.default_rng(recipe.seed + 2), b) for one in model.inputs]
    return Net(model, arrays, b.classes, b.failed, frozenset(b.marks))


def _grow(b: NetBuilder, recipe: Recipe) -> tuple[int, Any]:
    batch = b.pick((1, 2, 3, 4, 4))
    current = _start(b, batch)
    sizes = current
    b.values.append(current)
    for name, seed in recipe.steps:
        b.chooser = chooser_of(seed)
        start = current if recipe.sequential or b.chance(85) else b.pick(b.values)
        new = _step(b, STEPS[name], start)
        if new is not None and _elements(new) <= MOST_ELEMENTS:
            current = new
            b.values.append(new)
        elif new is not None and recipe.sequential:
            b.chain.pop()
    b.chooser = chooser_of(recipe.seed + 3)
    if recipe.sequential and None not in b.chain and b.chain:
        first = b.keras.layers.Input(
            tuple(sizes.shape[1:]), name="x", dtype=dtype_of(sizes), batch_size=sizes.shape[0]
        )
        return batch, b.keras.Sequential([first, *b.chain], name="net")
    outputs = [current]
    while b.chance(20):
        outputs.append(b.pick(b.values))
    if b.generation == 3 and b.chance(10):
        return batch, b.keras.Model(
            b.inputs, {f"out_{i}": one for i, one in enumerate(outputs)}, name="net"
        )
    return batch, b.keras.Model(b.inputs, outputs if len(outputs) > 1 else current, name="net")


def _start(b: NetBuilder, batch: int) -> Any:
    """The first input: ids, a vector, a series, an image or a volume; some sizes free."""
    options = {"batch_size": batch} if b.chance(8) else {}
    rank = b.pick((1, 2, 2, 3, 3, 3, 3, 4))
    if b.chance(8):
        ids = b.input((b.size(),), "int32", **options)
        y = _step(b, b.pick(_OF_IDS), ids)
        return ids if y is None else y
    space = [b.pick((3, 4, 4, 5, 6)) if rank < 4 else b.pick((3, 4)) for _ in range(rank - 1)]
    shape: list[int | None] = [*space, b.size()]
    if rank > 1 and b.chance(10):
        shape[0] = None
    return b.input(shape, **options)


def _step(b: NetBuilder, step: Step, x: Any) -> Any:
    """One step; None where it does not apply, or Keras does not do this."""
    if not is_float(x) and step not in _OF_IDS:
        step = b.pick(_OF_IDS)
    before = len(b.chain), len(b.values), set(b.marks)
    try:
        return step(b, x)
    except Exception as error:  # sizes that do not fit, what the CPU cannot do, ...
        b.failed[f"{step.__name__}: {type(error).__name__}"] += 1
        del b.chain[before[0] :]
        del b.values[before[1] :]
        b.marks = before[2]
        return None


def _elements(x: Any) -> int:
    return int(np.prod([5 if one is None else one for one in x.shape[1:]]))


def _array(x: Any, batch: int, rng: np.random.Generator, b: NetBuilder) -> np.ndarray:
    shape = [batch if i == 0 else (one or 5) for i, one in enumerate(x.shape)]
    if not is_float(x):
        return rng.integers(0, VOCABULARY, shape).astype(dtype_of(x))
    array = rng.normal(0.2, 1.0, shape)
    if "masked" in b.marks and len(shape) == 3:
        array[rng.random(shape[:2]) < 0.3] = 0.0
    return array.astype(dtype_of(x))


# -- weights -------------------------------------------------------------------------------


def randomize(model: Any, rng: np.random.Generator) -> None:
    """Set every weight: gammas positive, of both signs or with a zero; variances small or not."""
    for variable in model.weights:
        name = getattr(variable, "path", variable.name).split("/")[-1].split(":")[0]
        dtype = float_dtype(str(getattr(variable.dtype, "name", variable.dtype)))
        # What a Normalization was adapted to is a constant of its own by now.
        if dtype.kind in "biu" or name in ("mean", "variance"):
            continue
        variable.assign(_weight(name, tuple(variable.shape), rng).astype(dtype))


def _weight(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if "variance" in name:
        value = rng.uniform(0.1, 3.0, shape)
        return value * 1e-3 if rng.random() < 0.1 else value
    if name == "gamma":
        value = rng.uniform(0.3, 1.7, shape)
        kind = rng.random()
        if kind < 0.5:
            value = value * rng.choice([-1, 1], shape)
        if kind < 0.2 and value.size > 1:
            value.reshape(-1)[rng.integers(value.size)] = 0.0
        return value
    if name == "alpha":
        return rng.normal(0.2, 0.4, shape)
    if len(shape) > 1:
        return rng.normal(0.0, 1.0 / np.sqrt(max(1, np.prod(shape[:-1]))), shape)
    return rng.normal(size=shape)


def without(recipe: Recipe, place: int) -> Recipe:
    """The recipe without one of its steps."""
    return replace(recipe, steps=recipe.steps[:place] + recipe.steps[place + 1 :])


__all__ = ["SIZES", "STEPS", "grow", "random_recipe", "randomize", "without"]

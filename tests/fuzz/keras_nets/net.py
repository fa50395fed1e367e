"""What a random Keras net is grown with: a recipe, choices, layers, values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ..builder import Chooser, SeededChooser

T = TypeVar("T")
# Sizes are few, so that batch, width and channels often coincide.
SIZES = (2, 3, 4, 4)
VOCABULARY = 7


@dataclass(frozen=True)
class Recipe:
    """All that a net is made from; leaving a step out changes no other step's choices.

    Attributes:
        generation: 2 or 3: of Keras.
        policy: dtype policy of its layers.
        seed: of sizes, weights and inputs.
        steps: names of steps, each with a seed of its own.
        sequential: grown as one chain, and made a Sequential.
    """

    generation: int
    policy: str
    seed: int
    steps: tuple[tuple[str, int], ...]
    sequential: bool = False


@dataclass
class Net:
    """A grown net.

    Attributes:
        model: the live Keras model.
        arrays: one per input, for `model.inputs` in order.
        classes: how often each layer class was drawn.
        failed: steps that Keras refused, by name.
        marks: what makes planners disagree: "shared", "masked", "attention".
    """

    model: Any
    arrays: list[np.ndarray]
    classes: Counter[str]
    failed: Counter[str]
    marks: frozenset[str]


@dataclass
class NetBuilder:
    """A net under construction; values are the symbolic tensors of Keras.

    Attributes:
        keras: the module, of either generation.
        generation: 2 or 3.
        policy: dtype policy of the layers.
        chooser: where the choices of the current step come from.
        rng: for numbers that stand in configs.
    """

    keras: Any
    generation: int
    policy: str
    chooser: Chooser
    rng: np.random.Generator
    chain_only: bool = False
    inputs: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    chain: list[Any] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    marks: set[str] = field(default_factory=set)
    called: list[tuple[Any, Any]] = field(default_factory=list)
    count: int = 0

    # -- choices

    def chance(self, percent: int) -> bool:
        """True that often."""
        return self.chooser.integer(1, 100) <= percent

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.chooser.integer(0, len(options) - 1)]

    def size(self) -> int:
        """A small size."""
        return self.pick(SIZES)

    # -- layers

    @property
    def compute(self) -> str:
        """The dtype of arithmetic."""
        return self.policy.replace("mixed_", "")

    def name(self, stem: str) -> str:
        """A new name."""
        self.count += 1
        return f"{stem.lower()}_{self.count}"

    def layer(self, kind: str, *args: Any, **options: Any) -> Any:
        """A new layer with a name of its own."""
        self.classes[kind] += 1
        return getattr(self.keras.layers, kind)(*args, name=self.name(kind), **options)

    def call(self, layer: Any, x: Any, **options: Any) -> Any:
        """Call it, and remember that it was called."""
        y = layer(x, **options)
        self.chain.append(layer)
        if not isinstance(x, (list, tuple)) and not isinstance(y, (list, tuple)):
            self.called.append((layer, x))
        return y

    def on(self, x: Any, kind: str, *args: Any, **options: Any) -> Any:
        """A new layer, called on ``x``."""
        return self.call(self.layer(kind, *args, **options), x)

    def input(self, shape: Sequence[int | None], dtype: str = "", **options: Any) -> Any:
        """A new input of the model; ``shape`` without the batch."""
        dtype = dtype or ("float64" if self.policy == "float64" else "float32")
        made = self.keras.layers.Input(tuple(shape), name=self.name("in"), dtype=dtype, **options)
        self.inputs.append(made)
        return made

    def partners(self, x: Any, count: int) -> list[Any]:
        """Other values of the same shape and dtype: earlier ones, derived ones, or inputs."""
        return [self._partner(x) for _ in range(count)]

    def _partner(self, x: Any) -> Any:
        alike = [one for one in self.values if one is not x and same_type(one, x)]
        kind = self.chooser.integer(0, 9)
        if alike and kind < 4:
            return self.pick(alike)
        if kind < 6 and x.shape[0] is None:
            return self.input(x.shape[1:], dtype_of(x))
        if kind < 9 and isinstance(x.shape[-1], int):
            return self.on(x, "Dense", int(x.shape[-1]))
        return self.on(x, "BatchNormalization", epsilon=2.0**-10)


Step = Callable[[NetBuilder, Any], Any]


def shape_of(x: Any) -> tuple[int | None, ...]:
    """Without the batch."""
    return tuple(x.shape[1:])


def dtype_of(x: Any) -> str:
    """Its name, in either Keras."""
    return str(getattr(x.dtype, "name", x.dtype))


def same_type(one: Any, other: Any) -> bool:
    """Same shape and dtype."""
    return tuple(one.shape) == tuple(other.shape) and dtype_of(one) == dtype_of(other)


def is_float(x: Any) -> bool:
    """Whether an affine can act on it."""
    return "float" in dtype_of(x)


@contextmanager
def dtype_policy(keras: Any, name: str) -> Iterator[None]:
    """The global dtype policy, for a while."""
    if hasattr(keras, "config"):
        get, put = keras.config.dtype_policy, keras.config.set_dtype_policy
    else:
        module = keras.mixed_precision
        get, put = module.global_policy, module.set_global_policy
    before = get()
    put(name)
    try:
        yield
    finally:
        put(before)


def chooser_of(seed: int) -> Chooser:
    """Choices of one step."""
    return SeededChooser(seed)

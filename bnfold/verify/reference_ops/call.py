"""How an operator's implementation is called: one record, so that all rows are alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Call:
    """One call of an operator.

    Attributes:
        inputs: the arrays, None where an optional input is left out.
        attributes: by name; the defaults of the newest schema are filled in.
        opset: version of the operator's domain that the model imports.
        outputs: how many outputs the node names.
        given: names of the attributes that the node itself carries.
    """

    inputs: tuple[Array | None, ...]
    attributes: Mapping[str, Any]
    opset: int
    outputs: int
    given: frozenset[str] = frozenset()

    def array(self, index: int) -> Array:
        """The input at `index`, which the operator requires.

        Raises:
            ValueError: if it is missing.
        """
        value = self.optional(index)
        if value is None:
            raise ValueError(f"input {index} is missing")
        return value

    def optional(self, index: int) -> Array | None:
        """The input at `index`, or None."""
        return self.inputs[index] if index < len(self.inputs) else None

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute, or `default` where it is absent or None."""
        value = self.attributes.get(name)
        return default if value is None else value


Implementation = Callable[[Call], tuple[Array, ...]]


def ints(values: Any, default: list[int]) -> list[int]:
    """A list attribute as ints, `default` where it is absent or empty."""
    if values is None or len(values) == 0:
        return default
    return [int(v) for v in np.asarray(values).ravel()]

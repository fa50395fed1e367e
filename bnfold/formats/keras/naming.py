"""The names that Keras gives to what it keeps: classes in snake case, numbered."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bnfold.formats.keras.graph import Layer


def snake_case(name: str) -> str:
    """A class name as Keras writes it in the paths of its archives: "Conv2D" is "conv2d"."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def numbered(class_names: Iterable[str]) -> list[str]:
    """Names of objects of these classes that are kept side by side: "dense", "dense_1"."""
    counts: dict[str, int] = {}
    found: list[str] = []
    for class_name in class_names:
        name = snake_case(class_name.rpartition(">")[2])
        count = counts.get(name, -1) + 1
        counts[name] = count
        found.append(f"{name}_{count}" if count else name)
    return found


def part_place(layer: Layer, attribute: str) -> str:
    """Where Keras keeps a part of a layer: "cells/0" is "cells/lstm_cell".

    Edits may change the classes in a list, and so the names, but not the places.
    """
    head, _, place = attribute.partition("/")
    if not place:
        return attribute
    listed = [part for name, part in layer.parts.items() if name.startswith(f"{head}/")]
    return f"{head}/{numbered(part.class_name for part in listed)[int(place)]}"

"""Every change to a library's behaviour from outside: what, why, and for which versions.

Each row of `PATCHES` replaces one entry of one object for the time of a `with` block. A row whose
library is outside its versions, or whose target is gone, is left out: the conversion then does
what that version does. `tests/convert/test_patches.py` holds that every row still has an effect
with the installed versions.
"""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

log = logging.getLogger(__name__)

Version = tuple[int, ...]


@dataclass(frozen=True)
class Patch:
    """One change.

    Attributes:
        package: distribution whose version decides.
        since, before: versions it is meant for, `before` excluded.
        why: one sentence.
        apply: makes the change and returns how to undo it; raises LookupError or
            AttributeError when the target is not there.
    """

    package: str
    since: Version
    before: Version
    why: str
    apply: Callable[[], Callable[[], None]]


def _no_conv_bn_fusion() -> Callable[[], None]:
    module = importlib.import_module("tf2onnx.optimizer.back_to_back_optimizer")
    handlers: dict[Any, Any] = module._func_map
    key = ("Conv", "BatchNormalization")
    handler = handlers.pop(key)

    def undo() -> None:
        handlers[key] = handler

    return undo


def _fresh_name_counter() -> Callable[[], None]:
    module: Any = importlib.import_module("tf2onnx.utils")
    before = module.INTERNAL_NAME
    module.INTERNAL_NAME = 1

    def undo() -> None:
        module.INTERNAL_NAME = before

    return undo


def _nodes_in_graph_order() -> Callable[[], None]:
    graph: Any = importlib.import_module("tf2onnx.graph").Graph
    original = graph.extract_sub_graph_nodes

    def ordered(self: Any, *args: Any, **kwargs: Any) -> list[Any]:
        place = {id(node): i for i, node in enumerate(self.get_nodes())}
        found = original(self, *args, **kwargs)
        # The set that the library makes may hold nodes that are not in its list.
        return sorted(found, key=lambda node: (place.get(id(node), len(place)), node.name))

    graph.extract_sub_graph_nodes = ordered

    def undo() -> None:
        graph.extract_sub_graph_nodes = original

    return undo


PATCHES = (
    Patch(
        "tf2onnx",
        (1, 16),
        (2,),
        "Its optimizer fuses Conv with BatchNormalization in float32: that is bnfold's to do, "
        "checked and reported.",
        _no_conv_bn_fusion,
    ),
    Patch(
        "tf2onnx",
        (1, 16),
        (2,),
        "Its names end in a process-wide counter, and their order decides the order of nodes: two "
        "conversions of one model would differ.",
        _fresh_name_counter,
    ),
    Patch(
        "tf2onnx",
        (1, 16),
        (2,),
        "Its sets of nodes are ordered by memory address: two conversions of one model would "
        "differ.",
        _nodes_in_graph_order,
    ),
)


@contextmanager
def patched() -> Iterator[tuple[Patch, ...]]:
    """Apply every patch that fits the installed versions; undo all at the end.

    Yields:
        The patches that are in effect.
    """
    active = []
    with ExitStack() as undoing:
        for patch in PATCHES:
            if not patch.since <= installed(patch.package) < patch.before:
                log.debug("left out: %s", patch.why)
                continue
            try:
                undo = patch.apply()
            except (LookupError, AttributeError) as error:
                log.debug("left out (%s): %s", error, patch.why)
                continue
            undoing.callback(undo)
            active.append(patch)
        yield tuple(active)


def installed(package: str) -> Version:
    """The installed version as numbers; () when it is not installed."""
    try:
        text = metadata.version(package)
    except metadata.PackageNotFoundError:
        return ()
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])

"""What in a Keras config would run code, found before any loader sees the file.

Keras's own protections differ between versions (tf_keras runs the bytecode of a Lambda in an .h5
even in its safe mode, and imports any module that a .keras file names), so none is relied on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from bnfold.core.errors import InputError
from bnfold.formats.keras import tf_ops
from bnfold.formats.text import clip

_TRUSTED_PACKAGES = frozenset(
    ("builtins", "keras", "keras_cv", "keras_hub", "keras_nlp", "tf_keras")
)
# Names a config may give for a function that are no mathematics.
_UNSAFE_BUILTINS = frozenset(
    (
        "__import__",
        "breakpoint",
        "compile",
        "delattr",
        "eval",
        "exec",
        "exit",
        "getattr",
        "globals",
        "input",
        "open",
        "print",
        "quit",
        "setattr",
        "vars",
    )
)
# Keras 2 writes `x + y` as the name of a TensorFlow function. These modules only compute; of the
# functions outside any module, those named here do more.
_SAFE_TF_MODULES = frozenset(
    (
        "__operators__",
        "audio",
        "bitwise",
        "dtypes",
        "image",
        "linalg",
        "math",
        "nn",
        "quantization",
        "ragged",
        "random",
        "sets",
        "signal",
        "sparse",
        "strings",
        "keras.activations",
        "keras.backend",
    )
)
_UNSAFE_TF_FUNCTIONS = frozenset(
    (
        "function",
        "load_library",
        "load_op_library",
        "numpy_function",
        "print",
        "py_function",
        "py_func",
        "register_tensor_conversion_function",
    )
)


@dataclass(frozen=True)
class _Found:
    """An object of the config, with the layer it belongs to."""

    layer: str
    class_name: str
    module: str
    registered_name: str
    config: Any


def refuse_code(config: object, known: Collection[str] = (), *, unsafe_load: bool = False) -> None:
    """Refuse a model config that carries code, or names functions that do more than compute.

    Args:
        config: the parsed JSON of a model.
        known: names of custom functions and classes that the user gave.
        unsafe_load: the user trusts the file: nothing is refused.

    Raises:
        InputError: names the layer, and says what to do.
    """
    if unsafe_load:
        return
    for found in _objects(config):
        what = _code_in(found, known)
        if what:
            raise InputError(
                f"Layer {clip(found.layer)!r} {what}: pass --unsafe-load (unsafe_load=True) if you "
                "trust the file."
            )


def refuse_unknown_modules(config: object, is_known: Callable[[str], bool]) -> None:
    """Refuse a config that would have a loader import a module which the file names.

    Args:
        config: the parsed JSON of a model.
        is_known: whether an object of this (registered) name was given or registered.

    Raises:
        InputError: names the layer and the class, and how to give it.
    """
    for found in _objects(config):
        package = found.module.partition(".")[0]
        if package in _TRUSTED_PACKAGES or not package:
            continue
        if is_known(found.registered_name) or is_known(found.class_name):
            continue
        home, name = clip(found.module, 80), clip(found.class_name, 80)
        raise InputError(
            f"Layer {clip(found.layer)!r} is of the custom class {home}.{name}: pass "
            f"--custom-objects {home}:{name} (custom_objects={{{name!r}: {name}}})."
        )


def _code_in(found: _Found, known: Collection[str]) -> str:
    """What is dangerous about this object, as the end of a sentence; "" when nothing is."""
    settings = found.config if isinstance(found.config, dict) else {}
    if found.class_name == "__lambda__":
        return "holds Python bytecode, which would run"
    if found.class_name == "Lambda":
        name = _function_name(settings.get("function"))
        if name and name in known and settings.get("function_type", "function") == "function":
            return ""
        return "is a Lambda: its Python code would run"
    if found.class_name == "TFSMLayer":
        return "loads a SavedModel from another place"
    if found.class_name == "TFOpLambda":
        function = str(settings.get("function", ""))
        if not _computes_only(function):
            return f"calls tf.{clip(function, 80)}, which does more than compute"
    if found.class_name == tf_ops.CLASS_NAME and not tf_ops.computes_only(settings):
        return f"runs the op {clip(tf_ops.op_of(settings), 80)}, which may do more than compute"
    if found.class_name == "ClassMethod":
        symbol = str(settings.get("cls_symbol", ""))
        if symbol not in ("RaggedTensor", "SparseTensor"):
            return f"calls a method of tf.{clip(symbol, 80)}, which may do more than compute"
    if found.class_name == "function" and _function_name(found.config) in _UNSAFE_BUILTINS:
        return f"calls {found.config}, which does more than compute"
    return ""


def _computes_only(function: str) -> bool:
    """Whether a TensorFlow function, named as in "math.add", does nothing but compute."""
    name = function.removeprefix("compat.v1.").removeprefix("compat.v2.")
    module, _, bare = name.rpartition(".")
    if not module:
        return bool(bare) and bare not in _UNSAFE_TF_FUNCTIONS
    return any(module == safe or module.startswith(f"{safe}.") for safe in _SAFE_TF_MODULES)


def _function_name(function: Any) -> str:
    """The name of a function that a config refers to; "" when it holds the code itself."""
    if isinstance(function, dict):
        if function.get("class_name") == "__lambda__":
            return ""
        function = function.get("config")
    return function if isinstance(function, str) else ""


def _objects(config: object) -> Iterator[_Found]:
    """Every serialized object in the config, outermost first, in document order."""
    stack: list[tuple[object, str]] = [(config, "")]
    while stack:
        value, layer = stack.pop()
        if isinstance(value, dict):
            inner = layer
            if isinstance(value.get("class_name"), str):
                inner = _own_name(value) or layer
                yield _Found(
                    inner,
                    value["class_name"],
                    str(value.get("module") or ""),
                    str(value.get("registered_name") or ""),
                    value.get("config"),
                )
            stack.extend((child, inner) for child in reversed(list(value.values())))
        elif isinstance(value, list):
            stack.extend((child, layer) for child in reversed(value))


def _own_name(value: dict[str, Any]) -> str:
    config = value.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return name if isinstance(name, str) else ""

"""What in a config would run code is found, wherever it hides; what only computes passes."""

from __future__ import annotations

from typing import Any

import pytest

from bnfold.core.errors import InputError
from bnfold.formats.keras.guard import refuse_code, refuse_unknown_modules


def layer(class_name: str, config: Any, **more: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": config, **more}


def model(*layers: Any) -> dict[str, Any]:
    return layer("Functional", {"name": "net", "layers": [layer("Dense", {"name": "d"}), *layers]})


BYTECODE = {"class_name": "__lambda__", "config": {"code": "4wAAAA==", "defaults": None}}
REFUSED = {
    "keras 2 lambda": layer(
        "Lambda", {"name": "bad", "function": ["4wEA", None, None], "function_type": "lambda"}
    ),
    "keras 2 raw": layer("Lambda", {"name": "bad", "function": "f", "function_type": "raw"}),
    "keras 3 lambda": layer("Lambda", {"name": "bad", "function": BYTECODE}),
    "bytecode as activation": layer("Dense", {"name": "bad", "activation": BYTECODE}),
    "bytecode as argument": layer("Dense", {"name": "bad"}, inbound_nodes=[{"args": [BYTECODE]}]),
    "saved model": layer("TFSMLayer", {"name": "bad", "filepath": "/elsewhere"}),
    "writes files": layer("TFOpLambda", {"name": "bad", "function": "io.write_file"}),
    "runs python": layer("TFOpLambda", {"name": "bad", "function": "py_function"}),
    "numpy": layer("TFOpLambda", {"name": "bad", "function": "numpy_function"}),
    "raw op": layer("TFOpLambda", {"name": "bad", "function": "raw_ops.WriteFile"}),
    "old name": layer("TFOpLambda", {"name": "bad", "function": "compat.v1.py_func"}),
    "downloads": layer("TFOpLambda", {"name": "bad", "function": "keras.utils.get_file"}),
    "graph op": layer("TensorFlowOpLayer", {"name": "bad", "node_def": {"op": "WriteFile"}}),
    "no op": layer("TensorFlowOpLayer", {"name": "bad", "node_def": "WriteFile"}),
    "no function": layer("TFOpLambda", {"name": "bad"}),
    "class method": layer("ClassMethod", {"name": "bad", "cls_symbol": "io.TFRecordWriter"}),
    "builtin": layer(
        "Activation",
        {"name": "bad", "activation": layer("function", "eval", module="builtins")},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_code_is_refused_with_its_layer(case: str) -> None:
    nested = model(layer("Sequential", {"name": "inner", "layers": [REFUSED[case]]}))
    with pytest.raises(InputError, match=r"Layer 'bad' .*: pass --unsafe-load"):
        refuse_code(nested)
    refuse_code(nested, unsafe_load=True)


@pytest.mark.parametrize(
    "harmless",
    [
        layer("TFOpLambda", {"name": "ok", "function": "math.multiply"}),
        layer("TFOpLambda", {"name": "ok", "function": "compat.v1.shape"}),
        layer("TensorFlowOpLayer", {"name": "ok", "node_def": {"op": "Mul"}}),
        layer("TensorFlowOpLayer", {"name": "ok", "node_def": {"op": "Mean"}}),
        layer("TFOpLambda", {"name": "ok", "function": "cast"}),
        layer("TFOpLambda", {"name": "ok", "function": "__operators__.getitem"}),
        layer("SlicingOpLambda", {"name": "ok", "function": "__operators__.getitem"}),
        layer("ClassMethod", {"name": "ok", "cls_symbol": "RaggedTensor"}),
        layer("Activation", {"name": "ok", "activation": "relu"}),
        layer("Activation", {"name": "eval", "activation": layer("function", "relu")}),
        layer("Dense", {"name": "Lambda"}),
    ],
)
def test_what_only_computes_passes(harmless: dict[str, Any]) -> None:
    refuse_code(model(harmless))


@pytest.mark.parametrize("function", ["scale", layer("function", "scale", module="builtins")])
def test_a_lambda_of_a_given_function_passes(function: Any) -> None:
    config = model(layer("Lambda", {"name": "bad", "function": function}))
    refuse_code(config, {"scale": object()})
    with pytest.raises(InputError):
        refuse_code(config, {"other": object()})


def test_a_bare_list_is_searched_too() -> None:
    with pytest.raises(InputError, match="'bad'"):
        refuse_code(layer("Sequential", [REFUSED["keras 2 lambda"]]))


def test_hostile_nesting_is_walked_without_recursion() -> None:
    config: Any = REFUSED["keras 3 lambda"]
    for _ in range(20_000):
        config = {"config": [config]}
    with pytest.raises(InputError, match="'bad'"):
        refuse_code(config)


def test_names_are_shown_on_one_printable_line() -> None:
    evil = layer("Lambda", {"name": "a\n\x1b[31mb" * 100, "function": BYTECODE})
    with pytest.raises(InputError) as caught:
        refuse_code(evil)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_foreign_modules_are_refused_unless_known() -> None:
    config = model(
        layer("Custom", {"name": "mine"}, module="pkg.mod", registered_name="pkg>Custom")
    )
    with pytest.raises(InputError, match=r"--custom-objects pkg\.mod:Custom"):
        refuse_unknown_modules(config, lambda name: False)
    refuse_unknown_modules(config, lambda name: name == "Custom")
    refuse_unknown_modules(config, lambda name: name == "pkg>Custom")


@pytest.mark.parametrize("module", ["keras.layers", "keras", "tf_keras.src.layers", "", None])
def test_keras_modules_pass(module: Any) -> None:
    refuse_unknown_modules(model(layer("Dense", {"name": "x"}, module=module)), lambda name: False)


@pytest.mark.parametrize("module", ["os", "kerasx.layers", "tensorflow.io", "subprocess"])
def test_look_alikes_do_not(module: str) -> None:
    with pytest.raises(InputError):
        refuse_unknown_modules(model(layer("system", {}, module=module)), lambda name: False)

"""Who may import whom: cli -> report -> {verify, bench} -> {formats, convert} -> core."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import bnfold

ROOT = Path(bnfold.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# What each package may import of bnfold. "": the modules at the top (api, sources, version).
LOWEST = frozenset({"core"})
MAY_IMPORT = {
    "core": LOWEST,
    "formats": LOWEST | {"formats"},
    "convert": LOWEST | {"formats", "convert"},
    "verify": LOWEST | {"formats", "convert", "verify"},
    "bench": LOWEST | {"formats", "convert", "bench"},
    "report": LOWEST | {"formats", "convert", "verify", "bench", "report"},
    "cli": LOWEST | {"formats", "verify", "report", "cli", "api", "many"},
}
# Parts of formats that hold what was folded and how: a checker that used them would check
# the folder with itself.
FOLDER = ("bnfold.core.planner", "bnfold.core.walk", "bnfold.formats.onnx.fold")
HEAVY = ("tensorflow", "keras", "tf_keras", "tf2onnx", "onnxruntime", "onnx.reference")
# The modules that wrap one of them and do nothing else; each is imported on use. The worker runs
# in a process of its own.
ADAPTERS = {
    "onnxruntime": ("bench/worker.py",),
    "onnx.reference": ("verify/evaluate.py", "verify/reference_ops/"),
}


@dataclass(frozen=True)
class Import:
    """One import statement: where, of what, and whether it runs when the module is imported."""

    path: Path
    line: int
    module: str
    eager: bool


def imports_of(path: Path) -> Iterator[Import]:
    """Every import in a file; those under TYPE_CHECKING or within functions are not eager."""

    def visit(node: ast.AST, eager: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name, eager)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            for alias in node.names:
                yield Import(path, node.lineno, f"{node.module}.{alias.name}", eager)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from visit(child, False)
            for child in node.orelse:
                yield from visit(child, eager)
        else:
            inner = eager and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, inner)

    yield from visit(ast.parse(path.read_text("utf-8")), True)


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else ""


IMPORTS = [item for path in MODULES for item in imports_of(path)]


def found(items: list[Import]) -> list[str]:
    return [f"{item.path.relative_to(ROOT)}:{item.line} {item.module}" for item in items]


def test_the_scan_sees_imports() -> None:
    assert len(MODULES) > 20
    assert any(item.module == "numpy" and item.eager for item in IMPORTS)
    assert any(item.module.startswith("onnxruntime") and not item.eager for item in IMPORTS)


def test_every_package_has_a_place() -> None:
    packages = {package_of(path) for path in MODULES} - {""}
    assert packages <= set(MAY_IMPORT) | {"testing"}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_nothing_points_back(package: str) -> None:
    wrong = [
        item
        for item in IMPORTS
        if package_of(item.path) == package
        and item.module.startswith("bnfold.")
        and item.module.split(".")[1] not in MAY_IMPORT[package] | {"__version__"}
    ]
    assert found(wrong) == []


def test_core_imports_numpy_and_the_standard_library_only() -> None:
    wrong = [
        item
        for item in IMPORTS
        if package_of(item.path) == "core"
        and item.module.split(".")[0] not in sys.stdlib_module_names | {"numpy", "bnfold"}
    ]
    assert found(wrong) == []


def test_frameworks_and_runtimes_are_imported_in_functions_only() -> None:
    wrong = [
        item
        for item in IMPORTS
        for name in HEAVY
        if item.eager
        and f"{item.module}.".startswith(f"{name}.")
        and not item.path.relative_to(ROOT).as_posix().startswith(ADAPTERS.get(name, ()))
    ]
    assert found(wrong) == []


@pytest.mark.parametrize("package", ["verify", "bench"])
def test_a_checker_uses_no_part_of_the_folder(package: str) -> None:
    wrong = [
        item
        for item in IMPORTS
        if package_of(item.path) == package and item.module.startswith(FOLDER)
    ]
    assert found(wrong) == []


def test_modules_stay_small() -> None:
    assert [
        str(path.relative_to(ROOT))
        for path in MODULES
        if len(path.read_text("utf-8").splitlines()) > 500
    ] == []


def test_a_planted_import_is_found(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import keras\n"
        "try:\n    import tensorflow.lite\nexcept ImportError:\n    pass\n"
        "class C:\n    import onnxruntime\n"
        "def f():\n    import tf2onnx\n"
    )
    eager = {item.module for item in imports_of(planted) if item.eager}
    assert eager == {"typing.TYPE_CHECKING", "tensorflow.lite", "onnxruntime"}

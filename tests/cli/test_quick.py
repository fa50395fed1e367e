"""onnx-ir without sympy: the same objects, sympy when it is needed, and never in the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "sample_models"
QUICK = "from bnfold.cli.quick import import_onnx_ir\nimport_onnx_ir()\n"


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_run_on_onnx_never_imports_sympy(tmp_path: Path) -> None:
    model, output = SAMPLES / "autoencoder.onnx", tmp_path / "o.onnx"
    arguments = [str(model), "-o", str(output), "--no-verify", "--no-bench", "-q"]
    code = f"import sys\nfrom bnfold.cli.main import run\nassert run({arguments!r}) == 0\n"
    assert run(code + "print('sympy' in sys.modules, 'onnx_ir' in sys.modules)") == "False True"
    assert output.exists()


@pytest.mark.parametrize("first", ["", "import sympy\n", "import onnx_ir\n"])
def test_symbolic_dimensions_compute_as_ever(first: str) -> None:
    code = """
import onnx_ir as ir
n = ir.SymbolicDim("n")
print((2 * n + 1).evaluate({"n": 4}), ir.SymbolicDim("Max(n, 7)").evaluate({"n": 4}))
import sympy
print(sympy.Symbol("x") * 2, isinstance(sympy.Integer(2), sympy.Expr), type(sympy).__name__)
print(ir.SymbolicDim(sympy.Symbol("k") + 1).value)
"""
    expected = "9 7\n2*x True module\nk + 1"
    assert run(first + QUICK + code) == expected


def test_an_onnx_ir_that_needs_sympy_at_once_gets_it(tmp_path: Path) -> None:
    package = tmp_path / "onnx_ir"
    package.mkdir()
    (package / "__init__.py").write_text("import sympy\nclass Dim(sympy.Symbol): pass\n")
    code = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{QUICK}"
    assert run(code + "import onnx_ir\nprint(onnx_ir.Dim('n') + 1)") == "n + 1"

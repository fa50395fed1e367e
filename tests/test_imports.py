"""What importing and running bnfold imports, each seen in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import bnfold

SAMPLES = Path(__file__).parent.parent / "sample_models"
KERAS = {"tensorflow", "keras", "tf_keras", "tf2onnx"}
HEAVY = KERAS | {"onnx", "onnx_ir", "onnxruntime", "numpy", "h5py", "rich"}


def modules_after(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh process holds after it ran `code`."""
    program = f"""
import sys
sys.argv[1:] = {list(arguments)!r}
try:
{chr(10).join("    " + line for line in code.splitlines())}
except SystemExit as ending:
    assert not ending.code, ending.code
finally:
    import json
    print()
    print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


MAIN = "from bnfold.cli.main import main\nmain()"


def test_import_costs_nothing() -> None:
    assert not modules_after("import bnfold") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["explain", "BNF203"], ["fold", "--help"]])
def test_help_and_explain_import_nothing_heavy(arguments: list[str]) -> None:
    assert not modules_after(MAIN, *arguments) & HEAVY


def test_importing_the_api_and_every_renderer_imports_no_framework() -> None:
    code = "import bnfold.api\nfrom bnfold.report import text, jsonform, markdown, junit, github"
    assert not modules_after(code) & (KERAS | {"onnxruntime"})


def test_every_public_name_resolves() -> None:
    assert set(bnfold.__all__) <= set(dir(bnfold))
    for name in bnfold.__all__:
        assert getattr(bnfold, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = bnfold.nonsense


@pytest.mark.parametrize(
    "first", ["pass", "import bnfold.verify.types, bnfold.convert.types", "import bnfold.api"]
)
def test_verify_and_convert_are_functions_though_they_are_packages(first: str) -> None:
    code = f"""
{first}
import bnfold
from bnfold.core.errors import InputError
for function, arguments in ((bnfold.verify, (1, 2)), (bnfold.convert, (1,))):
    try:
        function(*arguments)
    except InputError as error:
        assert "cannot use a int" in str(error)
    else:
        raise AssertionError("not called")
from bnfold.verify.types import Verification
import bnfold.convert.types as types
assert types.ConvertedModel is bnfold.ConvertedModel
"""
    assert not modules_after(code) & KERAS


@pytest.mark.parametrize("command", ["fold", "inspect"])
def test_onnx_to_onnx_imports_no_keras(command: str, tmp_path: Path) -> None:
    model = SAMPLES / "autoencoder.onnx"
    extra = ["-o", str(tmp_path / "out.onnx"), "--no-bench"] if command == "fold" else []
    found = modules_after(MAIN, command, str(model), *extra)
    assert not found & KERAS
    assert "onnx_ir" in found

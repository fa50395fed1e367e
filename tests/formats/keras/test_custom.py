"""Custom objects named on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bnfold.core.errors import InputError
from bnfold.formats.keras.custom import parse_custom_objects


def test_names_from_a_module() -> None:
    found = parse_custom_objects(["collections:OrderedDict, Counter", "os.path:join"])
    assert sorted(found) == ["Counter", "OrderedDict", "join"]
    assert found["join"] is __import__("os").path.join


def test_a_module_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_layers_here.py").write_text("class Mine:\n    class Inner: pass\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    found = parse_custom_objects(["my_layers_here:Mine", "my_layers_here:Mine.Inner"])
    assert [found["Mine"].__name__, found["Inner"].__name__] == ["Mine", "Inner"]
    assert sys.path == before


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "layers_in_a_file.py"
    file.write_text("class Mine: pass\n")
    assert parse_custom_objects([f"{file}:Mine"])["Mine"].__name__ == "Mine"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("Mine", "write it as module:Name"),
        (":Mine", "write it as module:Name"),
        ("os:", "write it as module:Name"),
        ("no_such_module_anywhere:Mine", "ModuleNotFoundError"),
        ("os:NoSuchName", "os has no 'NoSuchName'"),
        ("no/such/file.py:Mine", "is not there"),
        ("no/such/file.py", "is not there"),
    ],
)
def test_mistakes_are_one_line(spec: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_custom_objects([spec])
    assert "\n" not in str(caught.value)


def test_a_module_that_breaks_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "broken_layers.py"
    file.write_text("raise RuntimeError('several\\nlines')\n")
    with pytest.raises(InputError, match="RuntimeError: several lines"):
        parse_custom_objects([f"{file}:Mine"])


def test_all_of_a_file(tmp_path: Path) -> None:
    """Every public class and function, or those that the file lists."""
    file = tmp_path / "many_layers.py"
    file.write_text("class Mine: pass\ndef act(x): return x\nclass _Hidden: pass\nSIZE = 3\n")
    assert sorted(parse_custom_objects([str(file)])) == ["Mine", "act"]
    file.write_text("class Mine: pass\nCUSTOM_OBJECTS = {'pkg>Mine': Mine}\n")
    assert sorted(parse_custom_objects([str(file), "os.path:join"])) == ["join", "pkg>Mine"]


@pytest.mark.parametrize("spec", ["{file}", "{file}:Mine"])
def test_a_file_that_exits_is_one_line(tmp_path: Path, spec: str) -> None:
    file = tmp_path / "leaving_layers.py"
    file.write_text("raise SystemExit(7)")
    with pytest.raises(InputError, match="SystemExit"):
        parse_custom_objects([spec.format(file=file)])

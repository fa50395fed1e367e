"""The recipes for pipelines: valid by the systems' own schemas, and their lines run."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bnfold.cli.main import run
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.test_snippets import KERAS, check_pip, parsed, prepare

RECIPES = blocks("yaml")
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}

# What a recipe is, told by its keys, and who says whether it is valid.
SCHEMAS = {"jobs": "vendor.github-workflows", "script": "vendor.gitlab-ci"}


def recipes(kind: str) -> list[tuple[Block, Any]]:
    """The recipes whose document, or a job of it, has this key."""
    found = []
    for block in RECIPES:
        content = yaml.safe_load(block.text)
        jobs = [job for job in content.values() if isinstance(job, dict)]
        if kind in content or any(kind in job for job in jobs):
            found.append((block, content))
    assert found, kind
    return found


def schema_errors(schema: str, path: Path) -> str:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def steps() -> list[dict[str, Any]]:
    return [
        step
        for _, content in recipes("jobs")
        for job in content["jobs"].values()
        for step in job["steps"]
    ]


def shell_lines() -> list[str]:
    """Every line that a recipe has a shell run."""
    lines = [line for step in steps() for line in step.get("run", "").splitlines()]
    for _, content in recipes("script"):
        lines += [line for job in content.values() for line in job["script"]]
    return lines


def calls() -> list[list[str]]:
    """Every call of bnfold in a recipe, with those that the action and the hooks make."""
    found = [shlex.split(line)[1:] for line in shell_lines() if line.startswith("bnfold ")]
    for step in steps():
        if step.get("uses", "").partition("@")[0].endswith("/bnfold"):
            given = {name: default_of(name) for name in ACTION["inputs"]} | step["with"]
            output = ["--output", given["output"]] if given["output"] else []
            words = [given["command"], given["model"], *output, *shlex.split(given["arguments"])]
            found.append(words)
    for _, hook in hook_uses():
        entry = shlex.split(HOOKS[hook["id"]]["entry"])
        if entry[0] == "bnfold":
            found.append([*entry[1:], *hook.get("args", [])])
    assert len(found) >= 4
    return found


def default_of(name: str) -> str:
    return str(ACTION["inputs"][name].get("default", ""))


def hook_uses() -> list[tuple[Block, dict[str, Any]]]:
    return [
        (block, hook)
        for block, content in recipes("repos")
        for repo in content["repos"]
        for hook in repo["hooks"]
    ]


def test_every_recipe_is_of_a_known_kind() -> None:
    known = [block for kind in (*SCHEMAS, "repos") for block, _ in recipes(kind)]
    assert set(map(str, known)) == set(map(str, RECIPES))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_system_takes_it(kind: str, tmp_path: Path) -> None:
    for block, _ in recipes(kind):
        path = tmp_path / "recipe.yml"
        path.write_text(block.text, encoding="utf-8")
        assert schema_errors(SCHEMAS[kind], path) == "", str(block)


def test_an_invalid_recipe_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yml"
    path.write_text("on: [push]\njobs:\n  fold:\n    steps: 3\n", encoding="utf-8")
    assert schema_errors(SCHEMAS["jobs"], path) != ""


def test_pre_commit_takes_the_hooks_and_the_recipe(tmp_path: Path) -> None:
    pytest.importorskip("pre_commit")
    config = tmp_path / "config.yaml"
    for block, _ in recipes("repos"):
        config.write_text(block.text, encoding="utf-8")
    for command in (
        ["validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")],
        ["validate-config", str(config)],
        ["validate-config", str(ROOT / ".pre-commit-config.yaml")],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "pre_commit", *command],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
    assert {hook["id"] for _, hook in hook_uses()} <= set(HOOKS)


def test_lines_name_what_is_there() -> None:
    for line in shell_lines():
        program, *words = shlex.split(line)
        if program == "pip":
            check_pip(words)
        else:
            assert program in ("bnfold", "cat"), line


def test_the_action_has_the_inputs_that_are_given() -> None:
    uses = [step for step in steps() if step.get("uses", "").split("@")[0].endswith("/bnfold")]
    assert uses
    for step in uses:
        assert set(step["with"]) <= set(ACTION["inputs"])
        required = {n for n, item in ACTION["inputs"].items() if item.get("required")}
        assert required <= set(step["with"])


@pytest.mark.parametrize("words", calls(), ids=" ".join)
def test_the_command_line_takes_it(words: list[str]) -> None:
    parsed(words)


@pytest.mark.parametrize(
    "words", [words for words in calls() if not KERAS.search(" ".join(words))], ids=" ".join
)
def test_calls_on_onnx_models_do_what_they_say(words: list[str], home: Path) -> None:
    prepare(home, words)
    assert run(words) == 0


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.usefixtures("keras")
@pytest.mark.parametrize(
    "words", [words for words in calls() if KERAS.search(" ".join(words))], ids=" ".join
)
def test_calls_on_keras_models_do_what_they_say(words: list[str], home: Path) -> None:
    prepare(home, words)
    assert run(words) == 0

"""TensorFlow takes seconds to import: one import serves all tests."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def keras3() -> Any:
    pytest.importorskip("tf2onnx")
    from bnfold.formats.keras import runtime

    return runtime.import_keras()


@pytest.fixture(scope="session")
def keras2() -> Any:
    pytest.importorskip("tf2onnx")
    pytest.importorskip("tf_keras")
    from bnfold.formats.keras import runtime

    return runtime.import_tf_keras()


@pytest.fixture(params=["keras3", "keras2"])
def keras(request: pytest.FixtureRequest) -> Any:
    """Each of the two generations of Keras in turn."""
    return request.getfixturevalue(request.param)

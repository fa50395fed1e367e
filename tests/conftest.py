"""Fixtures for every test: random numbers, sample models, small ONNX models, Keras."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import ModuleType

import hypothesis
import numpy as np
import pytest

# Before anything imports TensorFlow: it reads these once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# How long an example takes says something of the machine, nothing of the code.
hypothesis.settings.register_profile("bnfold", deadline=None)
hypothesis.settings.load_profile("bnfold")

# A shell starts background jobs with SIGINT ignored, and what is ignored stays so in children,
# whose interruption some tests are about.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SAMPLE_MODELS = Path(__file__).parent.parent / "sample_models"


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture
def sample_models() -> Path:
    """The folder of the sample models."""
    return SAMPLE_MODELS


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    """Keras 3 on TensorFlow; tests that ask for it are skipped where it is not installed."""
    pytest.importorskip("tensorflow")
    module = pytest.importorskip("keras")
    assert isinstance(module, ModuleType)
    return module

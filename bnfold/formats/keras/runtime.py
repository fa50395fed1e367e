"""Starting TensorFlow and the two Keras, once, quietly, and with one line when they are missing.

`bnfold` imports neither before it has to: this module is the only place that does.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from bnfold.core.errors import InputError, MissingExtraError
from bnfold.formats.text import clip

log = logging.getLogger(__name__)

# Read by TensorFlow when it is imported; what the user has set stays.
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
}
_LOGGERS = ("absl", "tensorflow", "tf2onnx", "h5py")
# What TensorFlow's C++ side says before its log levels hold.
_CHATTER = re.compile(rb"WARNING: All log messages before absl::|[IWE]\d{4} |\d{4}-\d\d-\d\d ")
_NEEDS_KERAS = "It needs TensorFlow, Keras and tf2onnx: pip install 'bnfold[keras]'."
_NEEDS_LEGACY = "The model was made by Keras 2 and needs tf-keras: pip install 'bnfold[legacy]'."


def start_tensorflow() -> Any:
    """Import TensorFlow for the CPU, without its start-up messages.

    Returns:
        The module `tensorflow`.

    Raises:
        MissingExtraError: it is not installed.
        InputError: it is installed and does not start.
    """
    started = sys.modules.get("tensorflow")
    if started is not None:
        return started
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return _imported("tensorflow", _NEEDS_KERAS)


def is_installed(package: str) -> bool:
    """Whether a package could be imported; nothing is."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def backend_at_hand() -> str:
    """What Keras 3 can compute on here: TensorFlow, else what is asked for, else what there is.

    Returns:
        "tensorflow", "jax" or "torch"; "" for none. (Keras's own "numpy" needs JAX as well.)
    """
    asked = os.environ.get("KERAS_BACKEND", "")
    for name in ("tensorflow", asked, "jax", "torch"):
        if name in ("tensorflow", "jax", "torch") and is_installed(name):
            return name
    return ""


def import_keras(backend: str = "tensorflow") -> Any:
    """Import Keras 3.

    Args:
        backend: what it is to compute on.

    Raises:
        MissingExtraError: it is not installed, or older than Keras 3.
        InputError: this process already uses another backend.
    """
    if backend == "tensorflow":
        start_tensorflow()
    if sys.modules.get("keras") is None:
        before = os.environ.get("KERAS_BACKEND")
        os.environ["KERAS_BACKEND"] = backend
        try:
            _imported("keras", _NEEDS_KERAS)
        finally:
            if before is None:
                del os.environ["KERAS_BACKEND"]
            else:
                os.environ["KERAS_BACKEND"] = before
    keras = sys.modules["keras"]
    if int(keras.__version__.split(".")[0]) < 3:
        raise MissingExtraError(
            f"Keras {keras.__version__} is too old to be used here: "
            "pip install --upgrade 'bnfold[keras]'."
        )
    if keras.backend.backend() != backend:
        needs = "tf2onnx needs TensorFlow" if backend == "tensorflow" else f"{backend} is needed"
        raise InputError(
            f"Keras runs on {keras.backend.backend()} in this process, and {needs}: "
            f"set KERAS_BACKEND={backend} before Keras is imported."
        )
    return keras


def import_tf_keras() -> Any:
    """Import tf_keras, the Keras 2 that goes with today's TensorFlow.

    Raises:
        MissingExtraError: it is not installed.
    """
    start_tensorflow()
    return _imported("tf_keras", _NEEDS_LEGACY)


def import_tf2onnx() -> Any:
    """Import tf2onnx.

    Raises:
        MissingExtraError: it is not installed.
    """
    start_tensorflow()
    with quiet():
        return _imported("tf2onnx.tfonnx", _NEEDS_KERAS) and sys.modules["tf2onnx"]


def said(error: BaseException) -> str:
    """An exception of a library on one printable line: its type and what it says.

    Keras sets parts of its messages in bold, with terminal escapes.
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return f"{type(error).__name__}: {clip(text, 300)}"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the loggers and warnings of TensorFlow and Keras; both are restored."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    root = logging.getLogger()
    handler = logging.NullHandler()  # keeps logging.warning() from setting up the root logger
    try:
        root.addHandler(handler)
        root.addFilter(_is_not_tf2onnx)
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(_is_not_tf2onnx)
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _is_not_tf2onnx(record: logging.LogRecord) -> bool:
    """Whether a record of the root logger is from elsewhere: tf2onnx writes some of its there."""
    return "tf2onnx" not in record.pathname


def _imported(name: str, missing: str) -> ModuleType:
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    package = name.partition(".")[0]
    if not is_installed(package):
        raise MissingExtraError(missing)
    try:
        with _stderr_set_aside(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except Exception as error:
        raise InputError(f"{package} is installed but does not start: {said(error)}") from error


@contextmanager
def _stderr_set_aside() -> Iterator[None]:
    """Hold back file descriptor 2 during an import, then let through all but the chatter.

    TensorFlow's start-up messages are written by C++ before any log level is read, so neither
    Python nor an environment variable can stop them.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (AttributeError, OSError, ValueError):  # no stderr to speak of
        yield
        return
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            aside.seek(0)
            _pass_on(aside.read())


def _pass_on(text: bytes) -> None:
    for line in text.splitlines(keepends=True):
        if _CHATTER.match(line):
            log.debug("%s", line.decode(errors="replace").rstrip())
        else:
            os.write(2, line)

"""Serve a folded model over HTTP. Needs onnxruntime and numpy; no bnfold, Keras or TensorFlow.

python server.py model.onnx --port 8080
curl -s localhost:8080/healthz
curl -s localhost:8080/ -d '{"inputs": {"pixels": [[0.0, 0.5]]}}'

The answer is {"outputs": {name: nested list}}. What cannot be run gives 400 and one line.
"""

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

LARGEST_BODY = 16 * 2**20
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


class BadRequestError(Exception):
    """The caller's mistake; the text is the answer."""


class Model:
    """A loaded model; `run` may be called from several threads at once."""

    def __init__(self, path: Path) -> None:
        self._session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._types = {item.name: item.type for item in self._session.get_inputs()}
        self._outputs = [item.name for item in self._session.get_outputs()]

    def run(self, inputs: object) -> dict[str, Any]:
        """Outputs by name, as nested lists.

        Raises:
            BadRequestError: the inputs do not fit the model.
        """
        if not isinstance(inputs, dict) or set(inputs) != set(self._types):
            raise BadRequestError(f"inputs must be given by name: {', '.join(self._types)}")
        try:
            feeds = {
                name: np.asarray(value, dtype=DTYPES[self._types[name]])
                for name, value in inputs.items()
            }
            results = self._session.run(self._outputs, feeds)
        except Exception as error:  # numpy and the runtime raise many kinds
            raise BadRequestError(str(error).splitlines()[0]) from error
        return {
            name: np.asarray(r).tolist() for name, r in zip(self._outputs, results, strict=True)
        }


def handler(model: Model) -> type[BaseHTTPRequestHandler]:
    """The request handler class for a model."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_GET(self) -> None:
            self._answer(200 if self.path == "/healthz" else 404, {})

        def do_POST(self) -> None:
            try:
                self._answer(200, {"outputs": model.run(self._inputs())})
            except BadRequestError as error:
                self._answer(400, {"error": str(error)})

        def _inputs(self) -> object:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > LARGEST_BODY:
                raise BadRequestError(f"Content-Length must be at most {LARGEST_BODY}")
            try:
                body = json.loads(self.rfile.read(int(length)))
            except (ValueError, RecursionError) as error:
                raise BadRequestError("the body is not JSON") from error
            return body.get("inputs") if isinstance(body, dict) else None

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args()
    server = ThreadingHTTPServer((given.host, given.port), handler(Model(given.model)))
    print(f"serving {given.model} on port {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

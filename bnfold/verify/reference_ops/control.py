"""Loop and Scan with stacked scan outputs, every axis and direction.

onnx.reference concatenates a Loop's scan outputs instead of stacking them, and knows no Scan axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from bnfold.verify.reference_ops.call import Array, ints


class _Control(OpRun):
    """An op with a body that sees the outer scope."""

    body: Any

    def need_context(self) -> bool:
        return True

    def _call_body(
        self, context: dict[str, Any] | None, bound: dict[str, Any], attributes: Any
    ) -> list[Array]:
        scope = {**(context or {}), **bound}
        return list(self.body.run(None, scope, attributes=attributes))


class Loop(_Control):
    """Loop: M and cond may be absent; carried values first, then scan outputs."""

    def _run(
        self,
        *args: Array | None,
        context: dict[str, Any] | None = None,
        attributes: Any = None,
        **_: Any,
    ) -> tuple[Array, ...]:
        trips = None if not args or args[0] is None else int(args[0].ravel()[0])
        go_on = True if len(args) < 2 or args[1] is None else bool(args[1].ravel()[0])
        names = list(self.body.input_names)
        carried: list[Any] = list(args[2:])
        scanned: list[list[Array]] = [
            [] for _ in range(len(self.body.output_names) - 1 - len(carried))
        ]
        trip = 0
        while go_on and (trips is None or trip < trips):
            values = [np.array(trip, dtype=np.int64), np.array(go_on), *carried]
            results = self._call_body(context, dict(zip(names, values, strict=True)), attributes)
            go_on = bool(np.asarray(results[0]).ravel()[0])
            carried = results[1 : 1 + len(carried)]
            for kept, value in zip(scanned, results[1 + len(carried) :], strict=True):
                kept.append(value)
            trip += 1
        stacks = [np.stack(s) if s else np.zeros((0,)) for s in scanned]
        return (*carried, *stacks)


class Scan(_Control):
    """Scan of opset 9 and later."""

    def _run(
        self,
        *args: Array,
        context: dict[str, Any] | None = None,
        attributes: Any = None,
        num_scan_inputs: int = 1,
        **settings: Any,
    ) -> tuple[Array, ...]:
        states, scans = list(args[:-num_scan_inputs]), list(args[-num_scan_inputs:])
        outputs = len(self.body.output_names) - len(states)
        in_axes = ints(settings.get("scan_input_axes"), [0] * len(scans))
        in_ways = ints(settings.get("scan_input_directions"), [0] * len(scans))
        out_axes = ints(settings.get("scan_output_axes"), [0] * outputs)
        out_ways = ints(settings.get("scan_output_directions"), [0] * outputs)
        scans = [np.moveaxis(x, a, 0) for x, a in zip(scans, in_axes, strict=True)]
        scans = [x[::-1] if way else x for x, way in zip(scans, in_ways, strict=True)]
        kept: list[list[Array]] = [[] for _ in range(outputs)]
        for step in range(len(scans[0])):
            values = [*states, *(x[step] for x in scans)]
            bound = dict(zip(self.body.input_names, values, strict=True))
            results = self._call_body(context, bound, attributes)
            states = results[: len(states)]
            for row, value in zip(kept, results[len(states) :], strict=True):
                row.append(value)
        stacks = []
        for row, axis, way in zip(kept, out_axes, out_ways, strict=True):
            if not row:
                raise ValueError("Scan over an empty sequence")
            stacks.append(np.stack(row[::-1] if way else row, axis=axis))
        return (*states, *stacks)

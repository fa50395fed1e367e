"""The planner's working state: a journaled overlay on the immutable graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bnfold.core.affine import Affine
from bnfold.core.blocked import Blocked
from bnfold.core.diagnostics import Absorption, Direction, Reason
from bnfold.core.graph import Graph, Use
from bnfold.core.holding import form_read, form_written
from bnfold.core.transfer import Form, Source


@dataclass(frozen=True)
class Standing:
    """What a source op is now."""

    affine: Affine
    form: Form


class State:
    """Edits of constants, created biases and the present form of every source.

    Every change is journaled, so that a walk that fails half way leaves nothing behind.
    """

    def __init__(self, graph: Graph, blocked: Mapping[Use, Reason]) -> None:
        self.graph = graph
        self.blocked = blocked
        self.edits: dict[Use, Affine] = {}
        self.factors: dict[Use, Affine] = {}
        self.standing: dict[int, Standing] = {
            number: Standing(op.transfer.affine, form_read(op.transfer))
            for number, op in enumerate(graph.ops)
            if isinstance(op.transfer, Source)
        }
        self.absorbed: list[Absorption] = []
        self.touched: list[int] = []
        self.passes = sum(s.form.passes for s in self.standing.values())
        self.nodes = len(self.standing)
        self.rewrites = 0
        self._journal: list[Callable[[], None]] = []

    def written(self, number: int) -> Form:
        """The form in which source ``number`` is written as it stands."""
        source, standing = self.graph.ops[number].transfer, self.standing[number]
        assert isinstance(source, Source)
        return form_written(source, standing.form, standing.affine)

    # -- transactions ---------------------------------------------------------------------

    def mark(self) -> int:
        """A point to roll back to."""
        return len(self._journal)

    def rollback(self, mark: int) -> None:
        """Undo everything since `mark`."""
        while len(self._journal) > mark:
            self._journal.pop()()

    # -- values, seen through removed sources ---------------------------------------------

    def is_removed(self, number: int) -> bool:
        """Whether the op is a source that is gone."""
        standing = self.standing.get(number)
        return standing is not None and standing.form is Form.NONE

    def origin(self, name: str) -> str:
        """The value that stands for ``name`` once removed sources are skipped."""
        while True:
            producer = self.graph.producers.get(name)
            if producer is None or not self.is_removed(producer[0]):
                return name
            op = self.graph.ops[producer[0]]
            assert isinstance(op.transfer, Source)
            below = op.inputs[op.transfer.data]
            assert below is not None
            name = below

    def uses(self, name: str) -> list[Use]:
        """Readers of ``name``, looking through removed sources."""
        found: list[Use] = []
        stack = [name]
        while stack:
            for use in self.graph.readers.get(stack.pop(), ()):
                if self.is_removed(use.op):
                    stack.append(self.graph.ops[use.op].outputs[0])
                else:
                    found.append(use)
        return found

    def exposed(self, name: str) -> Reason | None:
        """Why the value must not change: it is an output or read in a subgraph."""
        stack = [name]
        while stack:
            value = stack.pop()
            if value in self.graph.output_names:
                return Reason.GRAPH_OUTPUT
            if value in self.graph.captured:
                return Reason.OUTER_SCOPE
            stack += [
                self.graph.ops[use.op].outputs[0]
                for use in self.graph.readers.get(value, ())
                if self.is_removed(use.op)
            ]
        return None

    def exposed_itself(self, name: str) -> bool:
        """Whether this very value, by this name, is an output or read in a subgraph."""
        return name in self.graph.output_names or name in self.graph.captured

    # -- changes ---------------------------------------------------------------------------

    def multiply(self, use: Use, factor: Affine) -> None:
        """Note that the kernel which ``use`` reads is now ``factor`` times what it was."""
        before = self.factors.get(use)
        self.factors[use] = factor if before is None else factor.after(before)

        def undo() -> None:
            if before is None:
                del self.factors[use]
            else:
                self.factors[use] = before

        self._journal.append(undo)

    def edit(self, use: Use, affine: Affine) -> None:
        """Replace the constant that ``use`` reads by ``affine`` of it.

        Raises:
            Blocked: if an earlier attempt found that this constant cannot hold the result.
        """
        reason = self.blocked.get(use)
        if reason is not None:
            raise Blocked(reason, f"operand {use.operand} of {self.graph.ops[use.op].name}")
        before = self.edits.get(use)
        # A bias that is created has the full length, also when all its elements are alike.
        self.edits[use] = (
            affine
            if before is None
            else affine.after(before).expanded(np.broadcast_shapes(affine.shape, before.shape))
        )
        if not self.edits[use].is_finite:
            self._restore(use, before)
            raise Blocked(Reason.OVERFLOW, f"parameters of {self.graph.ops[use.op].name}")
        self._journal.append(lambda: self._restore(use, before))

    def _restore(self, use: Use, before: Affine | None) -> None:
        if before is None:
            del self.edits[use]
        else:
            self.edits[use] = before

    def count_rewrite(self) -> None:
        """Note that an op changes its type to hold a bias."""
        self.rewrites += 1

        def undo() -> None:
            self.rewrites -= 1

        self._journal.append(undo)

    def place(self, number: int, standing: Standing) -> None:
        """Let source ``number`` stand as given from now on.

        Raises:
            Blocked: if an earlier attempt found that its constants cannot hold the result.
        """
        reason = self.blocked.get(Use(number, -1))
        if reason is not None and standing.form is not Form.NONE:
            raise Blocked(reason, self.graph.ops[number].name)
        before = self.standing[number]

        def put(new: Standing, old: Standing) -> None:
            self.standing[number] = new
            self.passes += new.form.passes - old.form.passes
            self.nodes += (new.form is not Form.NONE) - (old.form is not Form.NONE)

        put(standing, before)
        self.touched.append(number)

        def undo() -> None:
            put(before, standing)
            self.touched.pop()

        self._journal.append(undo)

    def remove(self, number: int) -> None:
        """Take source ``number`` out of the graph."""
        standing = self.standing[number]
        self.place(number, Standing(Affine.identity(standing.affine.rank), Form.NONE))

    def note(self, number: int, direction: Direction, affine: Affine) -> None:
        """Note that op ``number`` took ``affine``."""
        if affine.is_identity:
            return
        part = "scale and shift"
        if affine.is_scale:
            part = "scale"
        elif affine.is_shift:
            part = "shift"
        op = self.graph.ops[number]
        self.absorbed.append(Absorption(op.name, op.op_type, direction, part))
        self._journal.append(lambda: void(self.absorbed.pop()))


def void(_: object) -> None:
    """Drop a value, for journal entries."""

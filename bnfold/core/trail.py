"""What every walk keeps: where it is, how to say that it stopped, how to try and take back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bnfold.core.affine import Affine
from bnfold.core.blocked import Blocked
from bnfold.core.diagnostics import Direction, Reason, Refusal
from bnfold.core.graph import Op
from bnfold.core.parts import fit_shape
from bnfold.core.state import State

MAX_DEPTH = 150
BACK, FORTH = Direction.BACKWARD, Direction.FORWARD


class Stopped(Exception):  # noqa: N818 - a verdict, not an error
    """A walk ended without the affine being absorbed."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason.title)
        self.refusal = refusal


class Trail:
    """The state of one walk and its attempts."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.graph = state.graph
        self._trail: list[str] = []
        self._depth = 0
        # A kernel edited on behalf of a forward walk is reported as a forward fold.
        self._direction = BACK

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        mark, length = self.state.mark(), len(self._trail)
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                raise Stopped(self._refusal(BACK, None, Blocked(Reason.OPAQUE_OP, "too deep")))
            yield
        except Stopped:
            self.state.rollback(mark)
            raise
        finally:
            self._depth -= 1
            del self._trail[length:]

    def _refusal(self, direction: Direction, op: Op | None, blocked: Blocked) -> Refusal:
        name, kind = ("", "") if op is None else (op.name, op.op_type)
        return Refusal(
            blocked.reason, direction, name, kind, blocked.detail, tuple(self._trail[-32:])
        )

    @contextmanager
    def _at(self, op: Op | None, direction: Direction) -> Iterator[None]:
        try:
            yield
        except Blocked as blocked:
            raise Stopped(self._refusal(direction, op, blocked)) from None

    def _first(self, attempts: list[Callable[[], None]]) -> bool:
        """Run the first attempt that succeeds; the refusal of the first if none does."""
        refusal: Stopped | None = None
        for attempt in attempts:
            try:
                with self._attempt():
                    attempt()
                return True
            except Stopped as stopped:
                refusal = refusal or stopped
        if refusal is not None:
            raise refusal
        return False

    def _fit(self, op: Op, operand: int, affine: Affine) -> Affine:
        """The affine on a branch that is broadcast to the op's result.

        Raises:
            Blocked: if it varies where the branch has one element, or the shape is unknown.
        """
        name = op.inputs[operand]
        assert name is not None
        if affine.is_uniform:
            return affine.at_rank(self.graph.rank(name) or 0)
        if self.graph.constants.is_constant(name):
            return affine
        shape = self.graph.shapes.get(name)
        if shape is None:
            raise Blocked(Reason.UNKNOWN_SHAPE, f"the shape of {name} is not known")
        return fit_shape(affine, shape, name)

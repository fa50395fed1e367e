"""Carrying one affine through the graph until ops with constants absorb it.

Two questions, each answered by recursion on the transfers:

- ``request(use, A)``, backward: make the value that ``use`` reads become ``A(value)``. Works
  for any A, also with a scale of zero.
- ``offer(value, A)``, forward: the readers of ``value`` used to see ``A(value)`` and from now on
  see ``value``: let all of them absorb A.

Both raise `Stopped` with a `Refusal`, and leave the state as it was. What a contraction does is in
`products`.
"""

from __future__ import annotations

from collections.abc import Callable

from bnfold.core.affine import Affine
from bnfold.core.blocked import Blocked
from bnfold.core.diagnostics import Direction, Reason
from bnfold.core.graph import Op, Use
from bnfold.core.holding import form_for
from bnfold.core.moves import confined
from bnfold.core.parts import (
    assembled,
    border_before,
    border_behind,
    check_law,
    check_sign,
    composed,
    slices,
    spares,
)
from bnfold.core.products import Products
from bnfold.core.state import Standing
from bnfold.core.trail import BACK, FORTH
from bnfold.core.transfer import (
    Border,
    Commute,
    Concat,
    Contraction,
    Form,
    Join,
    Opaque,
    ShapeOnly,
    Source,
    Split,
    Sum,
)


class Walker(Products):
    """Walks affines through a state; see the module's docstring."""

    # -- public ----------------------------------------------------------------------------

    def request(self, use: Use, wanted: Affine) -> None:
        """Make the value that ``use`` reads become ``wanted`` of it.

        Raises:
            Stopped: if it cannot be done; nothing has changed then.
        """
        with self._attempt():
            self._request(use, wanted)

    def offer(self, value: str, given: Affine) -> None:
        """Let all readers of ``value`` absorb ``given``.

        Raises:
            Stopped: if one of them cannot; nothing has changed then.
        """
        with self._attempt():
            self._offer(value, given)

    # -- backward --------------------------------------------------------------------------

    def _request(self, use: Use, wanted: Affine) -> None:
        while not wanted.is_identity:
            reader = self.graph.ops[use.op]
            name = reader.inputs[use.operand]
            assert name is not None
            value = self.state.origin(name)
            if self.graph.constants.is_constant(value):
                with self._at(reader, BACK):
                    self.state.edit(use, wanted)
                self.state.note(use.op, self._direction, wanted)
                return
            producer = self.graph.producers.get(value)
            op = None if producer is None else self.graph.ops[producer[0]]
            with self._at(op, BACK):
                self._check_sole_reader(value, use, wanted)
                if producer is None:
                    why = self.graph.constants.why_not(value)
                    raise Blocked(why or Reason.GRAPH_INPUT, value)
            assert op is not None and producer is not None
            following = self._request_at(op, producer, use, wanted)
            if following is None:
                return
            self._trail.append(op.name)
            use, wanted = following

    def _check_sole_reader(self, value: str, use: Use, wanted: Affine) -> None:
        exposed = self.state.exposed(value)
        if exposed is not None:
            raise Blocked(exposed, value)
        uses = self.state.uses(value)
        others = [
            u
            for u in uses
            if u != use and not spares(self.graph.ops[u.op].transfer, u.operand, wanted)
        ]
        if others:
            other = self.graph.ops[others[0].op]
            raise Blocked(Reason.OTHER_READER, f"{value} is also read by {other.name}")

    def _request_at(
        self, op: Op, producer: tuple[int, int], use: Use, wanted: Affine
    ) -> tuple[Use, Affine] | None:
        """One step backward over ``op``: the next request, or None when all is absorbed."""
        number, output = producer
        transfer = op.transfer
        if output and not isinstance(transfer, Split):
            with self._at(op, BACK):
                raise Blocked(Reason.OPAQUE_OP, f"output {output} of {op.op_type}")
        match transfer:
            case Source():
                self._request_source(number, transfer, use, wanted)
                return None
            case Contraction():
                self._request_contraction(number, transfer, wanted)
                return None
            case Commute():
                with self._at(op, BACK):
                    check_law(transfer, wanted, transfer.to_input)
                    moved = self._move_back(Use(number, transfer.data), transfer, wanted)
                    self._change_borders(number, transfer, wanted, border_behind)
                return Use(number, transfer.data), moved
            case Sum():
                self._request_sum(number, transfer, wanted)
                return None
            case Join():
                with self._at(op, BACK):
                    check_sign(transfer.sign, wanted)
                    fitted = [self._fit(op, i, wanted) for i in transfer.operands]
                self._trail.append(op.name)
                for operand, part in zip(transfer.operands, fitted, strict=True):
                    self.request(Use(number, operand), part)
                return None
            case Concat():
                with self._at(op, BACK):
                    parts = slices(wanted, transfer.axis, transfer.sizes)
                self._trail.append(op.name)
                for operand, part in enumerate(parts):
                    self.request(Use(number, operand), part)
                return None
            case Split():
                with self._at(op, BACK):
                    whole = assembled(wanted, transfer.axis, transfer.sizes, output)
                return Use(number, 0), whole
            case ShapeOnly():
                with self._at(op, BACK):
                    raise Blocked(Reason.OPAQUE_OP, f"{op.op_type} gives a shape")
            case Opaque():
                with self._at(op, BACK):
                    raise Blocked(transfer.reason, transfer.detail)

    def _move_back(self, use: Use, transfer: Commute, wanted: Affine) -> Affine:
        """Parameters on the operand; where others read it too, on what the op takes of it only."""
        name = self.graph.ops[use.op].inputs[use.operand]
        shared = name is not None and len(self.state.uses(self.state.origin(name))) > 1
        if shared and wanted.rank:
            return confined(transfer.move).backward(wanted)
        return transfer.move.backward(wanted)

    def _change_borders(
        self,
        number: int,
        transfer: Commute,
        affine: Affine,
        changed: Callable[[Border, float, Affine], float],
    ) -> None:
        """Give the constants beside the data the values that the affine asks for."""
        for border in transfer.borders:
            now = border.value
            use = None if border.operand is None else Use(number, border.operand)
            if use in self.state.edits:
                now = float(self.state.edits[use].shift.reshape(-1)[0])
            new = changed(border, now, affine)
            if use is not None and new != now:
                self.state.edit(use, Affine.of(0.0, new))

    def _request_source(self, number: int, source: Source, use: Use, wanted: Affine) -> None:
        """Another affine on the way: carry both on, or leave both (or a part) with it."""
        op = self.graph.ops[number]
        own = self.state.standing[number].affine
        with self._at(op, BACK):
            total = composed(wanted, own)
        below = Use(number, source.data)

        def carry() -> None:
            self.state.remove(number)
            self._trail.append(op.name)
            self._request(use, total)

        def hold() -> None:
            self._hold(number, source, total, BACK, wanted)

        def hold_shift() -> None:
            self._trail.append(op.name)
            self.request(below, total.only_scale())
            self._hold(number, source, total.only_shift(), BACK, wanted.only_shift())

        def hold_scale() -> None:
            with self._at(op, BACK):
                inner = total.inner_shift()
                if inner is None:
                    raise Blocked(Reason.ZERO_SCALE)
            self._trail.append(op.name)
            self.request(below, inner)
            self._hold(number, source, total.only_scale(), BACK, wanted.only_scale())

        self._first([carry, *self._by_cost(number, source, total, hold, hold_shift, hold_scale)])

    def _by_cost(
        self,
        number: int,
        source: Source,
        total: Affine,
        whole: Callable[[], None],
        *halves: Callable[[], None],
    ) -> list[Callable[[], None]]:
        """Holding all in one op comes first unless that makes the op a costlier one."""
        form = form_for(source, total)
        dearer = form is None or form.passes > self.state.standing[number].form.passes
        return [*halves, whole] if dearer else [whole, *halves]

    def _hold(
        self, number: int, source: Source, total: Affine, direction: Direction, taken: Affine
    ) -> None:
        op = self.graph.ops[number]
        with self._at(op, direction):
            form = form_for(source, total)
            if form is None:
                raise Blocked(Reason.COST_WOULD_RISE, "it would take two ops")
            if form is Form.NONE:
                self.state.remove(number)
            else:
                self.state.place(number, Standing(total, form))
        self.state.note(number, direction, taken)

    def _request_sum(self, number: int, total: Sum, wanted: Affine) -> None:
        """Scale to every branch, shift to any one."""
        op = self.graph.ops[number]
        with self._at(op, BACK):
            scales = [self._fit(op, i, wanted.only_scale()) for i in total.operands]
        self._trail.append(op.name)
        for operand, scale in zip(total.operands, scales, strict=True):
            self.request(Use(number, operand), scale)
        if wanted.is_scale:
            return

        def into(operand: int, coefficient: float) -> Callable[[], None]:
            def attempt() -> None:
                with self._at(op, BACK):
                    part = Affine.of(1.0, wanted.shift / coefficient)
                    part = self._fit(op, operand, part)
                self._request(Use(number, operand), part)

            return attempt

        pairs = zip(total.operands, total.coefficients, strict=True)
        self._first([into(i, c) for i, c in pairs if c != 0.0])

    # -- forward ---------------------------------------------------------------------------

    def _offer(self, value: str, given: Affine) -> None:
        while not given.is_identity:
            with self._at(None, FORTH):
                exposed = self.state.exposed(value)
                if exposed is not None:
                    raise Blocked(exposed, value)
            uses = self.state.uses(value)
            if not uses:
                return  # a piece that nobody reads
            if len({use.op for use in uses}) < len(uses):
                op = self.graph.ops[uses[0].op]
                with self._at(op, FORTH):
                    raise Blocked(Reason.OTHER_READER, f"{value} is read twice by one op")
            if len(uses) > 1:
                for use in uses:
                    with self._attempt():
                        following = self._offer_use(use, given)
                        if following is not None:
                            self._offer(*following)
                return
            following = self._offer_use(uses[0], given)
            if following is None:
                return
            self._trail.append(self.graph.ops[uses[0].op].name)
            value, given = following

    def _offer_use(self, use: Use, given: Affine) -> tuple[str, Affine] | None:
        """One step forward over the op of ``use``: the next offer, or None."""
        op = self.graph.ops[use.op]
        transfer = op.transfer
        match transfer:
            case Source():
                self._offer_source(use.op, transfer, given)
                return None
            case Contraction():
                return self._offer_contraction(use, transfer, given)
            case Commute() if use.operand == transfer.data:
                with self._at(op, FORTH):
                    check_law(transfer, given, transfer.to_output)
                    moved = transfer.move.forward(given)
                    self._change_borders(use.op, transfer, given, border_before)
                return op.outputs[0], moved
            case Sum() if use.operand in transfer.operands:
                with self._at(op, FORTH):
                    if not given.is_shift:
                        raise Blocked(Reason.BRANCH_REFUSES, "the other branch has no such scale")
                    coefficient = transfer.coefficients[transfer.operands.index(use.operand)]
                    rank = self.graph.rank(op.outputs[0])
                    if rank is None and not given.is_uniform:
                        raise Blocked(Reason.UNKNOWN_SHAPE, op.outputs[0])
                    moved = Affine.of(1.0, given.shift * coefficient).at_rank(rank or 0)
                return op.outputs[0], moved
            case Concat():
                with self._at(op, FORTH):
                    whole = assembled(given, transfer.axis, transfer.sizes, use.operand)
                return op.outputs[0], whole
            case Split():
                with self._at(op, FORTH):
                    parts = slices(given, transfer.axis, transfer.sizes)
                self._trail.append(op.name)
                for output, part in zip(op.outputs, parts, strict=True):
                    self.offer(output, part)
                return None
            case Join():
                with self._at(op, FORTH):
                    raise Blocked(Reason.BRANCH_REFUSES, "the other operand has no such affine")
            case Opaque():
                with self._at(op, FORTH):
                    raise Blocked(transfer.reason, transfer.detail)
        with self._at(op, FORTH):
            raise Blocked(Reason.OPAQUE_OP, f"operand {use.operand} of {op.op_type}")

    def _offer_source(self, number: int, source: Source, given: Affine) -> None:
        op = self.graph.ops[number]
        own = self.state.standing[number].affine
        with self._at(op, FORTH):
            total = composed(own, given)
        above = op.outputs[0]

        def carry() -> None:
            self.state.remove(number)
            self._trail.append(op.name)
            self._offer(above, total)

        def hold() -> None:
            self._hold(number, source, total, FORTH, given)

        def hold_shift() -> None:
            with self._at(op, FORTH):
                inner = total.inner_shift()
                if inner is None:
                    raise Blocked(Reason.ZERO_SCALE)
            self._trail.append(op.name)
            self.offer(above, total.only_scale())
            self._hold(number, source, inner, FORTH, given.only_shift())

        def hold_scale() -> None:
            self._trail.append(op.name)
            self.offer(above, total.only_shift())
            self._hold(number, source, total.only_scale(), FORTH, given.only_scale())

        self._first([carry, *self._by_cost(number, source, total, hold, hold_shift, hold_scale)])

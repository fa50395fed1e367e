"""How a contraction takes part in a walk: its kernel and bias absorb, or the walk ends there.

``y = gain * x . w + bias``: an affine behind it changes kernel and bias, an affine on its data
changes the kernel and adds to the bias what the shift contributes.
"""

from __future__ import annotations

from abc import abstractmethod

from bnfold.core.affine import Affine, Array
from bnfold.core.blocked import Blocked
from bnfold.core.diagnostics import Direction, Reason
from bnfold.core.graph import Op, Use
from bnfold.core.labels import Labels
from bnfold.core.parts import bias_change, check_sign
from bnfold.core.trail import BACK, FORTH, Stopped, Trail
from bnfold.core.transfer import Contraction, Rewrite


class Products(Trail):
    """The part of a walker that deals with contractions."""

    @abstractmethod
    def _request(self, use: Use, wanted: Affine) -> None:
        """Make the value that ``use`` reads become ``wanted`` of it."""

    def _request_contraction(self, number: int, product: Contraction, wanted: Affine) -> None:
        op = self.graph.ops[number]
        with self._at(op, BACK):
            if product.output_blocked is not None:
                raise Blocked(product.output_blocked, product.blocked_detail)
            wanted = wanted.at_rank(len(product.labels.y))

        def into_kernel() -> None:
            with self._at(op, BACK):
                check_sign(product.sign, wanted)
                factor = product.labels.y_to_w(wanted.scale)
            self._scale_kernel(Use(number, product.w), factor, BACK)

        def into_data() -> None:
            with self._at(op, BACK):
                factor = product.labels.swapped().y_to_w(wanted.scale)
            self._trail.append(op.name)
            self._scale_kernel(Use(number, product.x), factor, BACK)

        if not wanted.is_shift:
            blocked = product.input_blocked is not None
            self._first([into_kernel] if blocked else [into_kernel, into_data])
        self._add_bias(number, product, wanted, BACK)

    def _add_bias(
        self, number: int, product: Contraction, wanted: Affine, direction: Direction
    ) -> None:
        """Let the op's bias become ``scale * bias + shift``."""
        op, bias = self.graph.ops[number], product.bias
        if bias is None or not bias.present:
            created = bias is not None and Use(number, bias.operand) in self.state.edits
            if wanted.is_scale and not created:
                return
            if bias is None or bias.create is None:
                with self._at(op, direction):
                    raise Blocked(Reason.NO_BIAS_SLOT, op.op_type)
            if bias.create is Rewrite.CHANGE_OP and not created:
                self.state.count_rewrite()
        with self._at(op, direction):
            change = bias_change(bias, product, wanted)
            if bias.present and bias.axis is None:
                change = self._fit(op, bias.operand, change)
        use = Use(number, bias.operand)
        if bias.present:
            self._request_on_behalf(use, change, direction)
            return
        with self._at(op, direction):
            self.state.edit(use, change)
        self.state.note(number, direction, change.only_shift())

    def _offer_contraction(
        self, use: Use, product: Contraction, given: Affine
    ) -> tuple[str, Affine] | None:
        op = self.graph.ops[use.op]
        bias = product.bias
        if bias is not None and use.operand == bias.operand:
            with self._at(op, FORTH):
                raise Blocked(Reason.BRANCH_REFUSES, "it is the op's bias")
        if use.operand not in (product.x, product.w):
            with self._at(op, FORTH):
                reason = product.output_blocked or Reason.OPAQUE_OP
                raise Blocked(reason, f"operand {use.operand} of {op.op_type}")
        labels, other = product.labels, product.w
        if use.operand == product.w:
            labels, other = labels.swapped(), product.x
        with self._at(op, FORTH):
            if product.input_blocked is not None:
                raise Blocked(product.input_blocked, product.blocked_detail)
            if product.shift_blocked is not None and not given.is_scale:
                raise Blocked(product.shift_blocked, product.blocked_detail)
            given = given.at_rank(len(labels.x))
            added = self._response(Use(use.op, other), product, labels, given)
        if not given.is_shift:
            try:
                with self._attempt():
                    with self._at(op, FORTH):
                        factor = labels.x_to_w(given.scale)
                    self._scale_kernel(Use(use.op, other), factor, FORTH)
            except Stopped as stopped:
                return self._past(op, product, labels, given, stopped)
        if added.is_identity:
            return None
        try:
            with self._attempt():
                self._add_bias(use.op, product, added, FORTH)
            return None
        except Stopped:
            if product.output_blocked is not None:
                raise
            return op.outputs[0], added

    def _past(
        self, op: Op, product: Contraction, labels: Labels, given: Affine, stopped: Stopped
    ) -> tuple[str, Affine]:
        """A pure scale that the kernel cannot take may act on the result instead."""
        biased = product.bias is not None and product.bias.present
        if biased or not given.is_scale or product.output_blocked is not None:
            raise stopped
        try:
            return op.outputs[0], Affine.of(labels.x_to_y(given.scale), 0.0)
        except Blocked:
            raise stopped from None

    def _response(self, use: Use, product: Contraction, labels: Labels, given: Affine) -> Affine:
        """What a shift on one operand adds to the result, as a pure shift."""
        rank = len(labels.y)
        if given.is_scale:
            return Affine.identity(rank)
        name = self.graph.ops[use.op].inputs[use.operand]
        assert name is not None
        kernel = self.graph.constants.value(name)
        if kernel is None:
            raise Blocked(Reason.NO_KERNEL, f"{name} is computed")
        factor = self.state.factors.get(use)
        if factor is not None:
            kernel = kernel * factor.scale
        return Affine.of(1.0, product.gain * labels.response(kernel, given.shift), rank)

    def _scale_kernel(self, use: Use, factor: Array, direction: Direction) -> None:
        """Multiply the kernel that ``use`` reads, and remember by how much."""
        self._request_on_behalf(use, Affine.of(factor, 0.0), direction)
        self.state.multiply(use, Affine.of(factor, 0.0))

    def _request_on_behalf(self, use: Use, wanted: Affine, direction: Direction) -> None:
        """A request for a kernel or bias by a walk that goes in ``direction``."""
        outer, self._direction = self._direction, direction
        try:
            self._request(use, wanted)
        finally:
            self._direction = outer

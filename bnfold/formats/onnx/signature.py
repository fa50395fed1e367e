"""Whether nodes are called as their op is defined: count of inputs, types of attributes.

Only what ONNX itself defines is checked, at the version that the model imports; ops of other
domains, and attributes that ONNX does not know, pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx
import onnx.defs

from bnfold.core.errors import InputError

_DOMAINS = {"": "", "ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml"}
_OPTION = onnx.defs.OpSchema.FormalParameterOption


@dataclass(frozen=True)
class _Signature:
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    needed: tuple[bool, ...]
    attributes: Mapping[str, int]
    required: frozenset[str]


class Signatures:
    """The signatures of the ops that a graph or function may call.

    Args:
        opsets: the domains and versions it imports.
        own: domain and name of the model's functions, which stand before ONNX's definitions.

    Raises:
        InputError: a version is imported that the installed onnx does not know.
    """

    def __init__(
        self, opsets: Iterable[onnx.OperatorSetIdProto], own: frozenset[tuple[str, str]]
    ) -> None:
        self._versions: dict[str, int] = {}
        newest = onnx.defs.onnx_opset_version()
        for opset in opsets:
            domain = _DOMAINS.get(opset.domain)
            if domain == "" and opset.version > newest:
                raise InputError(
                    f"its opset {opset.version} is newer than {newest}, the newest that onnx "
                    f"{onnx.__version__} knows: install a newer onnx"
                )
            if domain is not None:
                self._versions[domain] = min(opset.version, 2**20)
        self._own = own
        self._known: dict[tuple[str, str], _Signature | None] = {}

    def check(self, node: onnx.NodeProto) -> str:
        """Say what is wrong with the node, "" when nothing is."""
        key = (node.domain, node.op_type)
        if key not in self._known:
            self._known[key] = self._look_up(*key)
        signature = self._known[key]
        if signature is None:
            return ""
        least, most = signature.inputs
        if not least <= len(node.input) <= most:
            return f"has {len(node.input)} inputs where {_range(least, most)} belong"
        for index, needed in enumerate(signature.needed[: len(node.input)]):
            if needed and not node.input[index]:
                return f"lacks its input {index}"
        least, most = signature.outputs
        if not least <= len(node.output) <= most:
            return f"has {len(node.output)} outputs where {_range(least, most)} belong"
        return self._wrong_attribute(node, signature)

    def _wrong_attribute(self, node: onnx.NodeProto, signature: _Signature) -> str:
        missing = signature.required
        for attribute in node.attribute:
            missing = missing - {attribute.name}
            expected = signature.attributes.get(attribute.name)
            if expected is not None and attribute.type != expected:
                names = onnx.AttributeProto.AttributeType.Name
                return (
                    f"has a {names(attribute.type)} as its attribute '{attribute.name}', where "
                    f"{names(expected)} belongs"
                )
        return f"lacks its attribute '{min(missing)}'" if missing else ""

    def _look_up(self, domain: str, op_type: str) -> _Signature | None:
        home = _DOMAINS.get(domain)
        if home is None or home not in self._versions or (domain, op_type) in self._own:
            return None
        try:
            schema = onnx.defs.get_schema(op_type, self._versions[home], home)
        except onnx.defs.SchemaError:
            return None
        if schema.deprecated:
            return None
        return _Signature(
            (schema.min_input, schema.max_input),
            (schema.min_output, schema.max_output),
            tuple(parameter.option == _OPTION.Single for parameter in schema.inputs),
            {
                name: int(entry.type.value)  # type: ignore[attr-defined]
                for name, entry in schema.attributes.items()
            },
            frozenset(name for name, entry in schema.attributes.items() if entry.required),
        )


def _range(least: int, most: int) -> str:
    if least == most:
        return str(least)
    return f"at least {least}" if most > 1000 else f"{least} to {most}"

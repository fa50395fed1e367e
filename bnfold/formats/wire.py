"""The outline of a protobuf message, read without parsing it.

Only the top-level fields are looked at and payloads are skipped, so the outline of a 2 GB file
costs a few reads. Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import BinaryIO

_MOST_FIELDS = 20_000
_LONGEST_VARINT = 10
_PEEKED = 64


class Wire(enum.IntEnum):
    """Wire types of the encoding that are still in use."""

    VARINT = 0
    FIXED64 = 1
    BYTES = 2
    FIXED32 = 5


class Ending(enum.Enum):
    """Why a scan stopped."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"
    NOT_PROTOBUF = "not protobuf"
    LONG = "more fields than were looked at"


@dataclass
class Outline:
    """The top-level fields of a message.

    Attributes:
        fields: the wire types that each field number occurs with.
        ending: whether the fields fill the file exactly.
        missing: bytes that the last field declares beyond the end of the file.
        first_payload: the first bytes of the first length-delimited field.
    """

    fields: dict[int, set[Wire]] = field(default_factory=dict)
    ending: Ending = Ending.COMPLETE
    missing: int = 0
    first_payload: bytes = b""

    def has(self, number: int, wire: Wire) -> bool:
        """True when the field occurs, and only with this wire type."""
        return self.fields.get(number) == {wire}


class _CutError(Exception):
    """The file ends within a field."""


class _WrongError(Exception):
    """The bytes are no protobuf."""


def scan(file: BinaryIO, size: int) -> Outline:
    """Read the outline of the message that fills `file` from its start to `size` bytes."""
    outline = Outline()
    cursor = _Cursor(file, size)
    try:
        for _ in range(_MOST_FIELDS):
            if cursor.position == size:
                return outline
            _read_field(cursor, outline)
        outline.ending = Ending.LONG
    except _CutError:
        outline.ending = Ending.TRUNCATED
        outline.missing = max(cursor.position - size, 0)
    except _WrongError:
        outline.ending = Ending.NOT_PROTOBUF
    return outline


def _read_field(cursor: _Cursor, outline: Outline) -> None:
    key = cursor.varint()
    number, wire_number = key >> 3, key & 7
    if number == 0 or wire_number not in tuple(Wire):
        raise _WrongError
    wire = Wire(wire_number)
    outline.fields.setdefault(number, set()).add(wire)
    if wire is Wire.VARINT:
        cursor.varint()
    elif wire is Wire.FIXED64:
        cursor.skip(8)
    elif wire is Wire.FIXED32:
        cursor.skip(4)
    else:
        length = cursor.varint()
        if not outline.first_payload:
            outline.first_payload = cursor.peek(min(length, _PEEKED))
        cursor.skip(length)


class _Cursor:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self.position = 0
        file.seek(0)

    def varint(self) -> int:
        value = 0
        for index in range(_LONGEST_VARINT):
            byte = self._file.read(1)
            if not byte:
                raise _CutError
            self.position += 1
            value |= (byte[0] & 0x7F) << (7 * index)
            if byte[0] < 0x80:
                return value
        raise _WrongError

    def peek(self, count: int) -> bytes:
        data = self._file.read(count)
        self._file.seek(self.position)
        return data

    def skip(self, count: int) -> None:
        self.position += count
        if self.position > self._size:
            raise _CutError
        self._file.seek(self.position)

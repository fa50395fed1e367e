"""Whether an HDF5 file's global heaps can be walked.

HDF5 keeps strings of variable length, such as a Keras model's config, in global heap collections.
The library walks a collection object by object and never comes to an end where a damaged one says
that an object takes no space, so collections are checked before the library sees them.

Format: HDF5 File Format Specification, III.E "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import mmap

_SIGNATURE = b"GCOL\x01\x00\x00\x00"
_HEADER = 16  # of a collection, and of each object in it, where lengths take 8 bytes


def heaps_are_sound(data: bytes | bytearray | mmap.mmap) -> bool:
    """Walk every global heap collection in the bytes of an HDF5 file.

    Args:
        data: the whole file, or a file that holds it uncompressed.

    Returns:
        False when the library would walk one of them for ever.
    """
    start = data.find(_SIGNATURE)
    while start >= 0:
        if not _ends(data, start):
            return False
        start = data.find(_SIGNATURE, start + len(_SIGNATURE))
    return True


def _ends(data: bytes | bytearray | mmap.mmap, start: int) -> bool:
    end = start + _number(data, start + 8, 8)
    if end > len(data):
        return True  # the library reads the whole collection first, and cannot
    position = start + _HEADER
    while position + _HEADER <= end:
        index = _number(data, position, 2)
        size = _number(data, position + 8, 8)
        # Free space (index 0) counts its header in; objects are padded to 8 bytes. The library
        # computes in 64 bits.
        taken = (_HEADER + size + 7 & ~7 if index else size) % 2**64
        if taken == 0 or taken > end - position:
            return False
        position += taken
    return True


def _number(data: bytes | bytearray | mmap.mmap, position: int, length: int) -> int:
    return int.from_bytes(data[position : position + length], "little")

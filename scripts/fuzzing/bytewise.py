"""Damage that knows nothing of the format."""

from __future__ import annotations

import random
from collections.abc import Callable


def _flip_bits(data: bytearray, rng: random.Random, reach: int) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return data


def flip_anywhere(data: bytearray, rng: random.Random) -> bytearray:
    """Flip a few bits."""
    return _flip_bits(data, rng, len(data))


def flip_head(data: bytearray, rng: random.Random) -> bytearray:
    """Flip a few bits of the first 200 bytes, where the structure is."""
    return _flip_bits(data, rng, min(200, len(data)))


def truncate(data: bytearray, rng: random.Random) -> bytearray:
    """Cut the end off."""
    return data[: rng.randrange(len(data))]


def zero_range(data: bytearray, rng: random.Random) -> bytearray:
    """Overwrite a stretch with one byte, as a bad disk does."""
    start = rng.randrange(len(data))
    length = min(rng.choice((1, 16, 512, 4096)), len(data) - start)
    data[start : start + length] = bytes([rng.choice((0, 255, 65))]) * length
    return data


def delete_range(data: bytearray, rng: random.Random) -> bytearray:
    """Take a stretch out."""
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 7, 512))]
    return data


def insert_noise(data: bytearray, rng: random.Random) -> bytearray:
    """Put random bytes in."""
    start = rng.randrange(len(data))
    data[start:start] = rng.randbytes(rng.choice((1, 8, 1024)))
    return data


def duplicate_range(data: bytearray, rng: random.Random) -> bytearray:
    """Say a stretch twice."""
    start = rng.randrange(len(data))
    part = data[start : start + rng.choice((4, 64, 2048))]
    data[start:start] = part
    return data


def huge_varint(data: bytearray, rng: random.Random) -> bytearray:
    """Overwrite some bytes by a number close to 2^31, 2^32, 2^63 or 2^64."""
    start = rng.randrange(min(len(data), rng.choice((64, 512, len(data)))))
    number = rng.choice(
        (
            b"\xff\xff\xff\xff\x07",
            b"\xff\xff\xff\xff\x0f",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x00\x00\x00\x00\x00\x00\x00\x40",
        )
    )
    data[start : start + len(number)] = number
    return data


def swap_halves(data: bytearray, rng: random.Random) -> bytearray:
    """Put the end before the beginning."""
    middle = rng.randrange(len(data))
    return data[middle:] + data[:middle]


DAMAGES: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    flip_anywhere,
    flip_anywhere,
    flip_head,
    truncate,
    zero_range,
    delete_range,
    insert_noise,
    duplicate_range,
    huge_varint,
    swap_halves,
)


def damaged(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Do one or two kinds of damage; return their names and the result."""
    names = []
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2))):
        if content:
            damage = rng.choice(DAMAGES)
            names.append(damage.__name__)
            content = damage(content, rng)
    return "+".join(names), bytes(content)

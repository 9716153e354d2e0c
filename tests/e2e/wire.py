"""Remote write by hand: a snappy block of a `prometheus.WriteRequest`."""

from __future__ import annotations

import struct
from collections.abc import Mapping

REMOTE_WRITE = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def varint(number: int) -> bytes:
    """Encodes a base-128 integer; negative ones as 64-bit two's complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(number: int, body: bytes) -> bytes:
    """Encodes a field that has a length."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def series(labels: Mapping[str, str], samples: list[tuple[int, float]]) -> bytes:
    """Encodes one time series; times are in milliseconds."""
    body = b""
    for name, value in sorted(labels.items()):
        body += message(1, message(1, name.encode()) + message(2, value.encode()))
    for millis, number in samples:
        sample = b"\x09" + struct.pack("<d", number) + b"\x10" + varint(millis)
        body += message(2, sample)
    return message(1, body)


def snappy(data: bytes) -> bytes:
    """Writes a snappy block that holds only literals: legal, and as long as its content."""
    out = bytearray(varint(len(data)))
    for start in range(0, len(data), 60):
        chunk = data[start : start + 60]
        out.append((len(chunk) - 1) << 2)
        out += chunk
    return bytes(out)

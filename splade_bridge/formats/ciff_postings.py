"""Postings of CIFF as bytes: ``22 len [08 gap] 10 tf``, a gap of 0 left out.

That is field 4 of a PostingsList as protobuf writes it, whole blocks at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from splade_bridge.data.vectors import Int32Array, Int64Array

UInt8Array = npt.NDArray[np.uint8]

MAX_INT32 = 2**31 - 1
ENCODE_CHUNK = 1 << 15
"""Postings that are encoded at once: what is made of them stays in the cache."""
DECODE_CHUNK = 1 << 18
"""Bytes of postings that are decoded at once, for the same reason."""
POSTING, GAP, TF = 0x22, 0x08, 0x10  # tags: field 4 of a list; fields 1 and 2 of a posting
LONGEST_VARINT = 5
ONE, BITS, MORE = np.uint8(1), np.uint8(127), np.uint8(128)
"""Types matter: numpy writes bytes from bytes three times as fast as from int64."""


def encode_postings(gaps: Int32Array, tfs: Int32Array) -> tuple[UInt8Array, UInt8Array]:
    """Postings as field 4 of a PostingsList.

    Returns:
        uint8[m] bytes, and uint8[n] how many of them each posting takes.
    """
    parts, sizes = [np.empty(0, np.uint8)], [np.empty(0, np.uint8)]
    for start in range(0, len(gaps), ENCODE_CHUNK):
        part = slice(start, start + ENCODE_CHUNK)
        content, size = _encode_chunk(gaps[part], tfs[part])
        parts.append(content)
        sizes.append(size)
    return np.concatenate(parts), np.concatenate(sizes)


def _encode_chunk(gaps: Int32Array, tfs: Int32Array) -> tuple[UInt8Array, UInt8Array]:
    """Bytes, and how many each posting takes."""
    gap_bytes, tf_bytes = _varint_sizes(gaps), _varint_sizes(tfs)
    body = (gap_bytes + ONE) * (gaps > 0)
    body += tf_bytes
    body += ONE
    sizes = body + np.uint8(2)
    ends = np.cumsum(sizes, dtype=np.int64)
    out = np.empty(int(ends[-1]), np.uint8)
    at = ends - sizes
    out[at] = POSTING
    at += 1
    out[at] = body
    at += 1
    # A gap of 0 is not there: what is put for it is overwritten by the field that follows.
    out[at] = GAP
    at += 1
    _put_varints(out, at, gaps, gap_bytes)
    np.subtract(ends, tf_bytes, out=at)
    _put_varints(out, at, tfs, tf_bytes)
    at -= 1
    out[at] = TF
    return out, sizes


def _varint_sizes(values: Int32Array) -> UInt8Array:
    """Bytes of the varint of each."""
    sizes = np.ones(len(values), np.uint8)
    for bits in range(7, int(values.max(initial=0)).bit_length(), 7):
        sizes += values >= 1 << bits
    return sizes


def _put_varints(out: UInt8Array, at: Int64Array, values: Int32Array, sizes: UInt8Array) -> None:
    """Write the varints of ``values`` at ``at``."""
    first = values.astype(np.uint8)  # their lowest bits
    first |= (sizes > ONE) * MORE
    first &= (sizes > ONE) * MORE | BITS
    out[at] = first
    longer = np.flatnonzero(sizes > ONE)
    byte = 1
    while len(longer):
        rest = sizes[longer] > byte + 1
        out[at[longer] + byte] = (values[longer] >> 7 * byte).astype(np.uint8) & BITS | rest * MORE
        longer = longer[rest]
        byte += 1


def decode_postings(content: UInt8Array) -> tuple[Int64Array, Int64Array] | None:
    """Gaps and impacts from the bytes of :func:`encode_postings`, or None if written otherwise."""
    if len(content) < 4:
        return None
    if content[0] == POSTING and content[2] == TF and content[1] < 128:
        content = np.concatenate([np.frombuffer(with_gap(content[:4].tobytes()), np.uint8),
                                  content[4:]])  # fmt: skip
    found = decode_all(content)
    if found is None:
        return None
    gaps, tfs, _ = found
    return gaps.astype(np.int64), tfs.astype(np.int64)


def with_gap(content: bytes) -> bytes:
    """Postings that begin with one whose gap of 0 is left out, with that gap put in.

    So all of them look alike; only the first of a list can have such a gap.
    """
    return bytes((POSTING, content[1] + 2, GAP, 0)) + content[2:]


def decode_all(content: UInt8Array) -> tuple[Int32Array, Int32Array, Int64Array] | None:
    """Gaps, impacts and end offsets of postings that all have a gap; None if written otherwise.

    Returns:
        int32[n], int32[n] and int64[n].
    """
    parts = [(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))]
    start = 0
    while start < len(content):
        some = _decode_chunk(content[start : start + DECODE_CHUNK])
        if some is None:
            return None
        gaps, tfs, ends = some
        ends += start + 1
        start = int(ends[-1])
        parts.append((gaps, tfs, ends))
    gaps, tfs, ends = (np.concatenate(column) for column in zip(*parts, strict=True))
    return gaps, tfs, ends


def _decode_chunk(content: UInt8Array) -> tuple[Int32Array, Int32Array, Int64Array] | None:
    """Gaps, impacts and the last bytes of the postings that are whole."""
    ends = np.flatnonzero(content < MORE)
    ends = ends[: len(ends) // 6 * 6]  # a posting is six varints: tag, length, tag, gap, tag, tf
    if not len(ends):
        return None
    wide = ends + 1
    wide[1:] -= wide[:-1].copy()
    if int(wide.max()) > LONGEST_VARINT:
        return None
    sizes = wide.astype(np.uint8).reshape(-1, 6)
    if ((sizes[:, 0] | sizes[:, 1] | sizes[:, 2] | sizes[:, 4]) != ONE).any():
        return None
    gap_bytes, tf_bytes = sizes[:, 3].copy(), sizes[:, 5].copy()
    body = gap_bytes + tf_bytes
    body += np.uint8(2)
    last = ends[5::6].copy()
    at = last - body
    if (content[at] != body).any():
        return None
    at -= 1
    if (content[at] != POSTING).any():
        return None
    at += 2
    if (content[at] != GAP).any():
        return None
    at += 1
    gaps = _varints(content, at, gap_bytes)
    at += gap_bytes
    if (content[at] != TF).any():
        return None
    at += 1
    tfs = _varints(content, at, tf_bytes)
    return None if gaps is None or tfs is None else (gaps, tfs, last)


def _varints(content: UInt8Array, at: Int64Array, sizes: UInt8Array) -> Int32Array | None:
    """The varints at ``at``; None if one is more than an int32 holds."""
    most = int(sizes.max())
    wide = np.int64 if most == LONGEST_VARINT else np.int32
    values: npt.NDArray[Any] = (content[at] & BITS).astype(wide)
    longer = np.flatnonzero(sizes > ONE)
    for byte in range(1, most):
        part = (content[at[longer] + byte] & BITS).astype(np.int64) << 7 * byte
        values[longer] |= part.astype(wide)
        longer = longer[sizes[longer] > byte + 1]
    if most == LONGEST_VARINT and int(values.max()) > MAX_INT32:  # protobuf would cut it
        return None
    return values.astype(np.int32, copy=False)

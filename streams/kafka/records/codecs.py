"""Codecs of record batches: the check that the client libraries have all of them, and decompression of single batches.

Source: KIP-57 (lz4 frames), KIP-110 (zstd); snappy in the framing of xerial's snappy-java, which Kafka uses.
"""

import gzip
import importlib.util
import struct

from sidestream.streams.errors import MissingPackage

_XERIAL_MARK = b"\x82SNAPPY\x00"
# The mark, then two versions. Their byte order differs between producers, so they are not compared.
_XERIAL_HEADER_BYTES = 16
_BLOCK_LENGTH = struct.Struct(">i")
_PACKAGES = {"cramjam": "cramjam", "snappy": "python-snappy", "lz4": "lz4", "zstandard": "zstandard"}


def require_codecs() -> None:
    """Check that every codec that a producer or topic may use can be read and written.

    Without this check a compressed record would look damaged.

    Raises:
        MissingPackage: The package of a codec is not installed.
    """
    missing = [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        msg = (
            f"expected the packages of Kafka's codecs (snappy, lz4, zstd), got none of {', '.join(missing)}; run pip "
            f"install {' '.join(missing)}"
        )
        raise MissingPackage(msg)


def decompress(codec: int, payload: bytes) -> bytes:
    """Decompress the records of a batch.

    Args:
        codec: Number of the codec in the attributes of the batch: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
        payload: The records.

    Returns:
        The records, decompressed.

    Raises:
        ValueError: The codec is unknown, or the payload is damaged.
    """
    import cramjam  # here: few processes ever need it

    if codec == 0:
        return payload
    name = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}.get(codec)
    if name is None:
        msg = f"codec: expected 0 to 4 (none, gzip, snappy, lz4, zstd), got {codec}"
        raise ValueError(msg)
    try:
        if codec == 1:
            return gzip.decompress(payload)
        if codec == 2:
            return _snappy(payload)
        return bytes((cramjam.lz4 if codec == 3 else cramjam.zstd).decompress(payload))
    except Exception as exc:  # each codec has errors of its own, which share no base
        msg = f"{name}: {exc}"
        raise ValueError(msg) from exc


def _snappy(payload: bytes) -> bytes:
    import cramjam

    if not payload.startswith(_XERIAL_MARK):
        return bytes(cramjam.snappy.decompress_raw(payload))
    blocks, at = [], _XERIAL_HEADER_BYTES
    while at < len(payload):
        (length,) = _BLOCK_LENGTH.unpack_from(payload, at)
        at += _BLOCK_LENGTH.size
        if not 0 <= length <= len(payload) - at:
            msg = f"expected a block inside the batch, got one of {length} bytes"
            raise ValueError(msg)
        blocks.append(bytes(cramjam.snappy.decompress_raw(payload[at : at + length])))
        at += length
    return b"".join(blocks)

"""A toy tokenizer for live items, and a replay of records."""

import hashlib

import numpy as np

from sidestream.tokenizer.arrays.grid import VECTOR_BITS, unit_rows
from sidestream.tokenizer.arrays.int8 import quantize_rows
from sidestream.tokenizer.live import (
    Listening,
    OwnContent,
    Partial,
    Segment,
    decode_state,
    encode_state,
    fold_item,
    fold_listeners,
    fold_segment,
)

DIM = 8


def vector_of(text):
    """Words at the corners of a cube, near `topic` where the text begins with one: `3 anything`."""
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
    noise = np.random.default_rng(seed).normal(size=DIM)
    topic = np.zeros(DIM)
    topic[int(text.split()[0]) % DIM] = 1.0
    return unit_rows((topic + 0.1 * noise)[None, :], VECTOR_BITS)[0].astype(np.float32)


class ToyCodebooks:
    """One level of codes: as many topics as dimensions, and points between them."""

    vector_dim = DIM

    def __init__(self, version="0123456789ab", seed=1):
        self.version, self.encoded = version, []
        between = np.random.default_rng(seed).normal(size=(24, DIM))
        self.points = np.concatenate([np.eye(DIM), unit_rows(between, VECTOR_BITS)])

    def represent(self, item_id, text, field):
        self.encoded.append(text)
        return vector_of(text)

    def encode(self, vector):
        return (int(((self.points - vector) ** 2).sum(axis=1).argmin()),)

    def distance(self, vector, sid):
        return float(((self.points[sid[0]] - vector) ** 2).sum())

    def decode(self, sids):
        return self.points[[sid[0] for sid in sids]]


def words(text, codebooks):
    vector = vector_of(text)
    quantized, scales = quantize_rows(vector[None, :])
    scale = float(scales[0])
    return OwnContent(codebooks.encode(vector), quantized[0].tobytes(), scale, quantized[0] * np.float64(scale))


def listeners(text, weight, version="0123456789ab", *, partition=0, since=0, offset=0, at=0):
    quantized, scales = quantize_rows(vector_of(text)[None, :])
    means = {version: Listening(quantized[0].tobytes(), float(scales[0]), weight)}
    return Partial(partition, since, offset, at, means)


def talk(topic, number, *, offset=None, every_s=5):
    """The segment `number` of a stream that talks about one topic, one in `every_s`."""
    end_ms = (number + 1) * every_s * 1_000
    text = f"{topic} part {number}"
    return Segment(number if offset is None else offset, end_ms, end_ms - every_s * 1_000, end_ms, text)


def take(state, record, codebooks, settings):
    """Fold one record of any source: (offset, text) of the catalogue, a segment, or listeners."""
    if isinstance(record, Segment):
        return fold_segment(state, "live", record, codebooks, settings)
    if isinstance(record, Partial):
        return fold_listeners(state, record, codebooks, settings)
    offset, text = record
    own = {version: words(text, one) for version, one in codebooks.items()}
    return fold_item(state, text.encode(), offset, own, codebooks, settings)


def play(records, codebooks, settings, state=None, *, through_bytes=False):
    """Fold records in order; give every step."""
    steps = []
    for record in records:
        if through_bytes and state is not None:
            state = decode_state(encode_state(state))
        step = take(state, record, codebooks, settings)
        state = step.state
        steps.append(step)
    return steps

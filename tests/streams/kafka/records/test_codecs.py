"""All codecs are installed, and a missing one is said before anything is read."""

import gzip
import importlib.util
import struct

import aiokafka.codec
import kafka.codec
import pytest

from sidestream.streams.errors import MissingPackage
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.records import codecs
from sidestream.streams.kafka.settings import KafkaSettings
from tests.streams.kafka.records.handmade import CODECS


@pytest.mark.parametrize("library", [aiokafka.codec, kafka.codec], ids=["aiokafka", "kafka-python"])
@pytest.mark.parametrize("name", ["gzip", "snappy", "lz4", "zstd"])
def test_both_libraries_have_every_codec(library, name):
    assert getattr(library, f"has_{name}")()
    packed = getattr(library, f"{name}_encode")(b"x" * 100_000)
    number = ("gzip", "snappy", "lz4", "zstd").index(name) + 1
    assert codecs.decompress(number, bytes(packed)) == b"x" * 100_000
    for other in (aiokafka.codec, kafka.codec):
        assert getattr(other, f"{name}_decode")(packed) == b"x" * 100_000


@pytest.mark.parametrize("number", sorted(CODECS))
def test_damaged_payloads_are_value_errors(number):
    assert codecs.decompress(number, CODECS[number](b"abc" * 50)) == b"abc" * 50
    if number:
        with pytest.raises(ValueError, match=r"^(gzip|snappy|lz4|zstd): "):
            codecs.decompress(number, b"\x01nothing")


def test_snappy_blocks_with_versions_in_the_other_byte_order():
    block = CODECS[2](b"hello")
    mark = b"\x82SNAPPY\0" + struct.pack("<ii", 1, 1)
    packed = mark + struct.pack(">i", len(block)) + block + struct.pack(">i", len(block)) + block
    assert codecs.decompress(2, packed) == b"hellohello"
    for length in (-1, len(block) + 1):
        with pytest.raises(ValueError, match="expected a block inside the batch"):
            codecs.decompress(2, mark + struct.pack(">i", length) + block)


def test_several_gzip_members():
    assert codecs.decompress(1, gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"


def test_a_missing_package_is_named_before_anything_is_read(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "zstandard" else found(name))
    with pytest.raises(MissingPackage, match="none of zstandard; run pip install zstandard"):
        Clients(KafkaSettings(bootstrap="127.0.0.1:1"))

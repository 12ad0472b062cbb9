import pytest
from hypothesis import given
from hypothesis import strategies as st
from tf_files import literal, varint

from tlx.convert.snappy import unpack_snappy
from tlx.convert.wire import WireError, read_varint
from tlx.errors import UnsafeFileError

LITERALS = st.binary(min_size=1, max_size=300)
COPIES = st.tuples(st.integers(1, 70_000), st.integers(4, 64))


def encode_literal(content):
    size = len(content) - 1
    if size < 60:
        return bytes([size << 2]) + content
    width = (size.bit_length() + 7) // 8
    return bytes([59 + width << 2]) + size.to_bytes(width, "little") + content


def encode_copy(offset, size):
    if size < 12 and offset < 2048:
        return bytes([offset >> 8 << 5 | size - 4 << 2 | 1, offset & 0xFF])
    if offset < 1 << 16:
        return bytes([size - 1 << 2 | 2]) + offset.to_bytes(2, "little")
    return bytes([size - 1 << 2 | 3]) + offset.to_bytes(4, "little")


@given(st.integers(0, (1 << 64) - 1))
def test_a_number_goes_through_a_varint(value):
    assert read_varint(b"x" + varint(value), 1, 11) == (value, 1 + len(varint(value)))


@pytest.mark.parametrize("content", [b"", b"\x80", b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x01"])
def test_what_is_no_number_of_64_bits_is_refused(content):
    with pytest.raises(WireError):
        read_varint(content, 0, len(content))


@given(st.binary(min_size=1, max_size=100_000), st.lists(st.one_of(LITERALS, COPIES), max_size=40))
def test_unpacks_literals_and_copies_of_each_kind(first, parts):
    out, packed = bytearray(first), encode_literal(first)
    for part in parts:
        if isinstance(part, bytes):
            out += part
            packed += encode_literal(part)
        else:
            offset, size = min(part[0], len(out)), part[1]
            packed += encode_copy(offset, size)
            for _ in range(size):  # a byte at a time, so that a copy may run into itself
                out.append(out[-offset])
    assert unpack_snappy(varint(len(out)) + packed, 1 << 20, "a block") == bytes(out)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 200_000])
def test_unpacks_literals_of_each_length(size):
    content = bytes(range(251)) * (size // 251 + 1)
    assert unpack_snappy(literal(content[:size]), size, "a block") == content[:size]


@pytest.mark.parametrize("claimed", [1 << 62, 1_000, 221])
def test_a_block_that_claims_more_than_it_can_hold_is_refused(claimed, refuses):
    packed = varint(claimed) + encode_literal(b"abcdefg")
    with refuses(UnsafeFileError, "a block", f"claim to become {claimed}"):
        unpack_snappy(packed, 220, "a block")


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\x80",
        b"\x05" + encode_literal(b"abcd"),  # ends early
        b"\x03" + encode_literal(b"abcd"),  # goes on
        b"\x04" + encode_literal(b"abcd")[:-1],
        b"\x09" + encode_literal(b"abcd") + encode_copy(5, 5),  # from before the beginning
        b"\x09" + encode_literal(b"abcd") + bytes([1, 0]),  # from itself
        b"\x09" + encode_literal(b"abcd") + encode_copy(3000, 5)[:-1],
        b"\x09" + bytes([63 << 2, 1]),
    ],
    ids=lambda packed: packed.hex(),
)
def test_a_damaged_block_is_refused(packed):
    with pytest.raises(WireError):
        unpack_snappy(packed, 1 << 20, "a block")

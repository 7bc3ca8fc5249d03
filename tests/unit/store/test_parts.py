"""Which parts of a payload stay in the task document."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from khala.model.blob import BlobName, name_of
from khala.model.limits import INLINE_BYTES
from khala.model.spec import Part
from khala.store.parts import cut, plan_parts

SIZES = st.one_of(st.integers(0, 200), st.integers(INLINE_BYTES - 50, INLINE_BYTES + 50))
PAYLOADS = st.dictionaries(st.sampled_from(list(Part)), SIZES.map(lambda size: b"x" * size))


@given(PAYLOADS)
def test_every_byte_is_in_exactly_one_place(parts: dict[Part, bytes]) -> None:
    plan = plan_parts(parts)
    inline = {part: ref.inline for part, ref in plan.refs.items() if ref.inline is not None}
    apart = {part: plan.apart[BlobName(ref.sha256)] for part, ref in plan.refs.items() if ref.blob}
    assert inline | apart == parts
    assert not inline.keys() & apart.keys()
    assert set(plan.apart) == {name_of(data) for data in apart.values()}
    assert sum(map(len, inline.values())) < INLINE_BYTES
    for part, data in parts.items():
        assert plan.refs[part].size_bytes == len(data)
        assert plan.refs[part].sha256 == hashlib.sha256(data).hexdigest()


@given(PAYLOADS)
def test_nothing_goes_apart_without_need(parts: dict[Part, bytes]) -> None:
    if sum(map(len, parts.values())) < INLINE_BYTES:
        assert plan_parts(parts).apart == {}


def test_a_large_part_does_not_drive_out_the_small_ones() -> None:
    plan = plan_parts({Part.EXECUTE_INPUT: b"x" * (1 << 20), Part.EXECUTE_COMMAND: b"cat"})
    assert plan.refs[Part.EXECUTE_COMMAND].inline == b"cat"
    assert [part for part, ref in plan.refs.items() if ref.blob] == [Part.EXECUTE_INPUT]


@given(st.binary(max_size=50), st.integers(1, 20))
def test_pieces_join_to_the_whole(data: bytes, size: int) -> None:
    pieces = list(cut(data, size))
    assert b"".join(pieces) == data
    assert all(len(piece) == size for piece in pieces[:-1])
    assert 1 <= len(pieces) <= len(data) // size + 1

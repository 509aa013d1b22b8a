import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.server_kit.message_pack import pack

_PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()


@given(st.recursive(_PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
def test_the_reference_implementation_reads_the_value_back(value: object):
    assert msgpack.unpackb(pack(value)) == value


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="no MessagePack for bytes"):
        pack({"data": b""})

"""MessagePack of layers: the types of JSON, each in its longest form, which every reader takes."""

import struct
from typing import Any


def pack(value: Any) -> bytes:
    """Returns the MessagePack of a value of JSON. Raises TypeError for other values."""
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return struct.pack(">Bq", 0xD3, value)
        case float():
            return struct.pack(">Bd", 0xCB, value)
        case str():
            text = value.encode()
            return struct.pack(">BI", 0xDB, len(text)) + text
        case list():
            return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(pack, value))
        case dict():
            parts = (pack(part) for item in value.items() for part in item)
            return struct.pack(">BI", 0xDF, len(value)) + b"".join(parts)
    raise TypeError(f"no MessagePack for {type(value).__name__}")

"""Searches for trace ids in the bytes of source records, which costs far less than decoding them.

In: the value of a record. Out: whether it may contain a trace.
"""

from __future__ import annotations


def may_hold(value: bytes, trace_id: bytes) -> bool:
    r"""Return whether a record may contain the trace id: raw in protobuf, hex or escaped in JSON.

    >>> may_hold(b'{"traceId":"' + b"0A" * 16 + b'"}', b"\n" * 16), may_hold(b"{}", b"\n" * 16)
    (True, False)
    """
    return trace_id in value or trace_id.hex().encode() in value.lower() or b"\\u00" in value

"""Decodes records with every span and every attribute, where all that was sent is needed.

In: the value of a record. Out: what `streams.decode.decoder` returns for an interest in everything.
"""

from __future__ import annotations

from collections.abc import Iterator

from dsl import Interest
from streams.decode.decoder import Decoded, Decoder, Format
from streams.decode.decoder import _read as read_request
from topics.otlp import requests as otlp
from topics.otlp.requests import OtlpError, RecordKind

MOST_KEYS = 10_000
"""The most keys that a decoder remembers: a sender with a new key in each span must not fill the memory."""

_EVERY_SPAN = Interest(frozenset(), every_span=True, attributes=frozenset())


class WholeDecoder:
    """Decodes records with every span and every attribute; it learns the attributes' keys as it goes."""

    def __init__(self, format: Format = Format.AUTO) -> None:  # noqa: A002 - named like the setting
        self._format = format
        self._known: frozenset[str] = frozenset()
        self._decoder = Decoder(_EVERY_SPAN, format)

    def decode(self, value: bytes | None, kind: RecordKind) -> Decoded:
        """Return the decoded record.

        Raises:
            RecordError: as `Decoder.decode`.
        """
        if value:
            self._learn(value, kind)
        return self._decoder.decode(value, kind)

    def _learn(self, value: bytes, kind: RecordKind) -> None:
        try:
            request, _ = read_request(value, _EVERY_SPAN, self._format, kind)
        except OtlpError:
            return  # the decoder says why
        keys = frozenset(_keys(request))
        if keys <= self._known:
            return
        self._known = keys if len(self._known) > MOST_KEYS else self._known | keys
        self._decoder = Decoder(Interest(frozenset(), every_span=True, attributes=self._known), self._format)


def _keys(request: otlp.Request) -> Iterator[str]:
    """Yield the key of every attribute in a request."""
    for spans_of in request.resource_spans:
        for spans in spans_of.scope_spans:
            yield from _keys_of(spans_of.resource, spans.scope, *spans.spans)
            yield from _keys_of(*(event for span in spans.spans for event in span.events))
    for logs_of in request.resource_logs:
        for logs in logs_of.scope_logs:
            yield from _keys_of(logs_of.resource, logs.scope, *logs.log_records)


def _keys_of(*carriers: otlp.Resource | otlp.Scope | otlp.Span | otlp.Event | otlp.LogRecord) -> Iterator[str]:
    return (attribute.key for carrier in carriers for attribute in carrier.attributes)

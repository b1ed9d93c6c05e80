"""What the records of BeTrace's own topics hold: one module per topic, and nothing else.

In: messages as the stages know them. Out: the bytes on Kafka, and the other way round. A record that cannot be decoded
raises `msgspec.DecodeError`; the reader decides what that means.

Start reading at `topics.records.facts`.
"""

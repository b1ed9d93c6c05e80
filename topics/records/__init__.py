"""Defines the records on BeTrace's own topics: one module per topic, and nothing else.

In: messages as the stages know them. Out: the bytes on Kafka, and the reverse. Decoding an invalid record raises
`msgspec.DecodeError`; the caller decides what to do.

Start reading at `topics.records.facts`.
"""

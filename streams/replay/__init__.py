"""Replay: the past under today's rules.

The map:

    what is asked  ─ plan ───►  which offsets to read, up to when, and what of it is gone     streams.replay.plan
    offsets        ─ feed ───►  records, of Kafka or of an archive                            streams.replay.feed
    records        ─ read ───►  sections of facts, one for each process                       streams.replay.reading
    sections       ─ judge ──►  signals and tallies                                           streams.replay.judging
    all of it in one process per core                                                         streams.replay.worker
    and their results as one, in the order of record time                                     streams.replay.run

Projection, windows and verdicts are those of live processing. There is no consumer group and nothing is committed:
live processing does not notice.
"""

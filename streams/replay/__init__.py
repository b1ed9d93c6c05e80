"""Replays the past under today's rules.

    the request    ─ plan ───►  which offsets to read, up to when, and what of it is gone     streams.replay.plan
    offsets        ─ feed ───►  records, of Kafka or of an archive                            streams.replay.feed
    records        ─ read ───►  sections of facts, one for each process                  streams.replay.source_reader
    sections       ─ judge ──►  closed windows, and the verdicts of the rules                  streams.replay.evaluator
    closed windows ──────────►  signals and tallies                                           streams.replay.outcome
    all of it in one process per core                                                         streams.replay.worker
    and their results as one, in the order of record time                                     streams.replay.run

Traces are found by an expression in `streams.replay.find`, the names in records are listed in
`streams.replay.attributes`, and `streams.replay.period_reader` reads records without windows.

An archive is queried with SQL where the result is the same (`streams.replay.sql_replay`); otherwise its records take
the same path. Projection, windows and verdicts are those of live processing. There is no consumer group and nothing is
committed: live processing is not affected.
"""

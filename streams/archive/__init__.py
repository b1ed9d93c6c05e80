"""The archive: a source topic as Parquet files, for longer than Kafka keeps it.

    Kafka ─ rows ─► tables ─ write ─► files                 streams.archive.copy, run by `betrace archive`
    files ─ query ─► verdicts, with DuckDB's help           streams.archive.query, for `betrace replay --archive`
    files ─ read ─► records, as they were in Kafka          streams.archive.read, for what no query can answer

`streams.archive.names` says where which record is, `streams.archive.schema` what is in a row.
"""

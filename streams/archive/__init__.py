"""Archives source topics as Parquet files, to keep them longer than Kafka does.

    Kafka ─ rows ─► tables ─ write ─► files                 streams.archive.copy, run by `betrace archive`
    files ─ query ─► verdicts, with DuckDB's help           streams.archive.query, for `betrace replay --archive`
    files ─ read ─► records, as they were in Kafka          streams.archive.read, for what no query can answer

`streams.archive.names` defines which file has which record, `streams.archive.schema` the columns.
"""

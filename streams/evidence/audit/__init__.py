"""Stores and queries the audit trail: every span and log record that says who did what, from ingest to SQL.

    source record ─ extract ─►  betrace.audit             streams.projection.audit_records, in ingest
    betrace.audit ─ ledger  ─►  entries of the evidence   streams.evidence.ledger
    entries       ─ archive ─►  Parquet, chained          streams.evidence.audit.archive
    Parquet       ─ trail   ─►  `audit_spans` in DuckDB   streams.evidence.audit.trail

The evidence is authoritative: the Parquet files are derived from it, and verified against it.
"""

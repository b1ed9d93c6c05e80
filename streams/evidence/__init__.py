"""Keeps evidence of what was judged, so that no later change goes undetected.

In: verdicts, signals, audit records and rule sets from Kafka. Out: sealed files (`ledger`), the audit trail as SQL
(`audit`), and pages for auditors (`report`).

Start reading at `streams.evidence.ledger`.
"""

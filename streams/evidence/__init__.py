"""Evidence: what was judged, written down so that no later change goes unseen.

In: verdicts, signals, audit records and rule sets from Kafka. Out: sealed files (`ledger`), the audit trail as SQL
(`audit`), and pages for auditors (`report`).

Start reading at `streams.evidence.ledger`.
"""

"""Keeps evidence that what was judged was recorded, and has not been changed since.

    verdicts, signals, audit, rules ─►   one Merkle log per topic partition      entry, merkle
    once a minute            ─ seal  ─►  what was added, and what input it covers  seal, seal_summary
    seals                    ─ sign  ─►  a Merkle log of seals, its head signed   tree_head, notes
    seal and tree head      ─ store ─►  one file in write-once storage, Kafka    storage, log, worker

    storage and public key   ─ verify ►  findings, with their locations           verify, range_verifier

One signed tree head covers everything: its root covers every seal, and a seal names the state of every partition's log.
"""

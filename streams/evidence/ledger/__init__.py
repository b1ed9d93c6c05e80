"""The ledger: evidence that what was judged was recorded, and never changed since.

    verdicts, signals, audit, rules ─►   one Merkle log per topic partition      streams.evidence.ledger.entry, .merkle
    once a minute            ─ seal  ─►  what was added, and what input it covers  streams.evidence.ledger.seal, .cover
    seals                    ─ sign  ─►  a Merkle log of seals, its head signed   streams.evidence.ledger.tree_head, .notes
    seal and checkpoint      ─ store ─►  one file in write-once storage, Kafka    streams.evidence.ledger.storage, .log, .worker

    storage and public key   ─ verify ►  findings, with their places              streams.evidence.ledger.verify, .passage

One signed head speaks for everything: its root covers every seal, a seal names the state of every partition's log.
"""

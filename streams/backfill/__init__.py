"""Backfills rules: judges, by replay, the chains that began before a rule judged, and adds them to the live counts.

In: source records, and from `betrace.verdicts` when each rule began to judge. Out: signals, counts and coverage under
an origin of their own, `backfill/<id>`, one transaction per facts partition and hour. `verdict_log` reads what is
known, `plan` decides what is left, `hours` makes an hour's records, `run` replays and publishes.
"""

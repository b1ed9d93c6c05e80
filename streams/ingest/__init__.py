"""Ingest: source records in, facts messages out.

loop                        the worker: consume, project, flush, commit
assignment, group, watch    which source partitions are read and from where, and when reading must start over
intake, batch_facts         records into section builders, with dead letters and the audit trail
source, watermark           how far each source partition is, in offsets and in record time (`followers`)
flush, commits              section builders into facts messages, confirmed by the brokers, then committed
idle, watermark_alignment   advance time where no records arrive; pause partitions that are far ahead of others
rules                       which rule set is active
"""

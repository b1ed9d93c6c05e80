"""Ingest: source records in, facts messages out.

loop        the worker: consume, project, flush, commit
assignment, group, watch       which source partitions are read, from where on, and when that begins anew
intake, source, watermark      records into builders; how far each source partition is, in offsets and in record time
flush, outbox, commits         builders into facts messages, confirmed by the brokers, then committed
idle, pace                     time where nothing comes; partitions that wait for slower ones
rules                          which rule set is active
"""

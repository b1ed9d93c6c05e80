"""Sessions: facts messages in, signals and verdicts out.

app         Faust gives messages, one call at a time
worker      the facts partitions of this worker, and the protocol of a step
work        one of them: windows (`streams.windows`), store, publisher
counts      the chain of counts records
coverage    which input was judged, by which rules
takeover    where it begins, whoever had it before
publish     the transactional producer
"""

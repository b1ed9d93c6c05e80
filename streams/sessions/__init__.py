"""Sessions: facts messages in, signals and verdicts out.

app         Faust gives messages, one call at a time
worker      the facts partitions of this worker, and the protocol of a step
work        one of them: windows (`streams.windows`), store, publisher
counts      the chain of counts records
quota       the limit of signals in an hour
summaries   what it withheld, summed up over all facts partitions (`inquiries` reads their checkpoints)
coverage    which input was judged, by which rules
takeover    where it begins, whoever had it before
publish     the transactional producer
"""

"""Sessions: facts messages in, signals and verdicts out.

app                 the Faust application: delivers messages, one call at a time
worker              the facts partitions of this worker, and the protocol of a step
task                one of them: windows (`streams.windows`), store, publisher
recovery            how a worker opens a partition, with or without local state
last_checkpoint     finds the checkpoint to resume from
publish             the transactional producer
counts, coverage    what was judged: the chain of counts records; the input, and the rules that judged it
quota, summaries    the hourly limit of signals; a summary of those that it withheld
checkpoint_queries  reads the checkpoints of other facts partitions, for the summaries
judging             reports from when rules judge
start               checks before a start, without taking over a partition
"""

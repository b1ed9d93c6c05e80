"""How BeTrace reads from Kafka and writes to it.

In: settings. Out: the librdkafka settings of consumers (`clients`), whole topics read to their ends (`reader`,
`follow`), records that are delivered or end the program (`outbox`), queries that do not block a loop (`background`),
and the check that the cluster grants what a command needs (`permissions`).

Start reading at `streams.kafka.reader`.
"""

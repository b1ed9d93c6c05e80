"""How BeTrace reads from Kafka and writes to it.

In: settings. Out: the librdkafka settings of consumers (`clients`), topics read to their ends (`reader`, `follow`),
records that are delivered or end the program (`outbox`), queries that do not block a loop (`background`), records that
no client can read (`unreadable`), and the check of the ACLs that a command requires (`permissions`).

Start reading at `streams.kafka.reader`.
"""

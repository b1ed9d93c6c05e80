"""Talks to the Kafka cluster about topics, offsets and ACLs.

In: a layout (`topics.spec.Layout`) and a client. Out: topics as the layout requires, the cluster's actual topics and
offsets (`admin`, `timestamps`), and the ACLs of each role (`acls`). `bulk` decodes many small records at once.

Start reading at `topics.cluster.admin`.
"""

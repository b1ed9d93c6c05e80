"""The Kafka cluster: topics, offsets and ACLs.

In: a layout (`topics.spec.Layout`) and a client. Out: topics as the layout demands them, what the cluster really has,
the ACLs of each role (`acls`), and records written in bulk (`bulk`).

Start reading at `topics.cluster.admin`.
"""

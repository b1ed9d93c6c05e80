"""Runs a real Kafka that pip alone installs, and reads recorded messages to play on it.

In: nothing, or a capture file. Out: the address of a broker for the duration of a context (`broker`, which runs on a
`jvm`, or in a `container` if there is no Java and Docker is available), and the frames of a capture (`capture`).

Start reading at `topics.embedded.broker`.
"""

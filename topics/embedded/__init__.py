"""A real Kafka from pip alone, and recorded messages to play on it.

In: nothing, or a capture file. Out: a broker's address for as long as a context lasts (`broker`; in a `container` where
Docker answers, else in a `jvm`), and the frames of a capture (`capture`).

Start reading at `topics.embedded.broker`.
"""

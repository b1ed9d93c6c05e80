"""Bytes of source records to traces of spans.

In: the values of Kafka records, and what rules look at. Out: per trace its span count and the spans that some rule may
look at (`records`), of one record (`decoder`) or of many that follow one another (`batches`). The extension beside it
(`_scan` and the modules it uses) does the same as the Python, faster; `backend` says which of the two is used.

Start reading at `streams.decode.decoder`.
"""

"""Decodes the bytes of source records to traces of spans.

In: the values of Kafka records, and the interest of the rules. Out: for each trace its span count and the spans that
rules may look at (`records`), for one record (`decoder`) or for a batch of consecutive ones (`batches`). The Cython
extension beside it (`_scan` and the modules it uses) does the same as the Python, faster; `backend` decides which of
the two is used.

Start reading at `streams.decode.decoder`.
"""

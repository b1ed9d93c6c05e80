"""Session windows per trace. Everything here is pure except `rocksdb`, which stores windows on disk.

In: facts messages in offset order. Out: windows that close (`close`), the chains they belong to (`sessions`, `chain`),
and the outcomes of judging them (`outcomes`). `clock` is the clock of a facts partition, `reorder` the buffer that
sorts arrivals by record time, and `positions` defines what a worker stores so that it can resume.

Start reading at `streams.windows.partition`.
"""

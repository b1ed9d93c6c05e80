"""Session windows per trace. Everything here is pure except `rocksdb`, which stores windows on disk.

In: facts messages in offset order. Out: windows that close (`close`), their chains of sessions (`sessions`, `chain`),
and the outcome of judging one (`outcomes`). The clock of a facts partition is in `clock`, the buffer that puts arrivals
in order of record time in `reorder`, and what a worker stores to continue in `positions`.

Start reading at `streams.windows.partition`.
"""

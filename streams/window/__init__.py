"""Windows of traces: pure but for `store`. The map is in `streams.pipeline`."""

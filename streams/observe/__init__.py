"""What a running worker shows of itself.

In: events of the stages. Out: metrics for Prometheus, `/healthz` and `/readyz`, log lines, spans of our own work
(`self_tracing`), and signs that the source is sampled (`sampling`).

Start reading at `streams.observe.metrics`: it has every metric.
"""

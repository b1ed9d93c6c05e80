"""Exposes the state of a running worker.

In: events of the stages. Out: metrics for Prometheus, `/healthz` and `/readyz`, log lines, spans of the stages
themselves (`self_tracing`), and signs that the source is sampled (`sampling`).

Start reading at `streams.observe.metrics`: it declares every metric.
"""

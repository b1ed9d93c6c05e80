"""Keeps the rule sets at run time.

In: `betrace.rules`. Out: the rule sets that were pushed and which of them is active, compiled.

Start reading at `streams.rules.registry`.
"""

"""The stages as processes.

In: command lines. Out: child processes that are started again when they die, and ended together.

Start reading at `streams.supervisor.supervise`.
"""

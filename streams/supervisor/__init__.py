"""Runs the stages as processes.

In: command lines. Out: child processes, which are restarted when they crash and stopped together.

Start reading at `streams.supervisor.supervise`.
"""

"""Rules in plain English.

In: a compiled rule. Out: sentences: when it applies, when it is broken, and what its names match.

Start reading at `dsl.explain.explain`; `phrase` has the wording of one condition.
"""

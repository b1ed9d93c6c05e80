"""Explains rules in plain English.

In: a compiled rule. Out: sentences: when the rule applies, when it is broken, and what its names match.

Start reading at `dsl.explain.explain`; `phrase` has the wording of conditions.
"""

"""Matches spans against atoms, and judges traces by rules.

In: spans and a compiled `RuleSet`. Out: the atoms that a span satisfies (`atoms`, `predicate`, `values`, `builtin`),
and the verdicts on a window's facts (`verdict`, which evaluates the three-valued logic of `formula`).

Start reading at `dsl.judge.ruleset`, then `dsl.judge.verdict`.
"""

"""Spans to hits, and facts to verdicts.

In: spans and a compiled `RuleSet`. Out: which atoms a span satisfies (`atoms`, `predicate`, `values`, `builtin`), and
the verdict on a window's facts (`verdict`, by the three-valued logic of `formula`).

Start reading at `dsl.judge.ruleset`, then `dsl.judge.verdict`.
"""

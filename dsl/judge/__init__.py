"""Spans to hits, and facts to verdicts.

In: spans and a compiled `RuleSet`. Out: which atoms a span satisfies (`ruleset`), the verdict on a window's facts
(`verdict`, by the three-valued logic of `formula`), and what a signal says was missing or present (`review`).

Start reading at `dsl.judge.verdict`.
"""

"""Rules to predicates and formulas.

In: rule files. Out: a `RuleSet` whose atoms are predicates on one span (`atoms`, `predicate`, `values`, `builtin`) and
whose verdicts are formulas over facts (`assemble`).

Start reading at `dsl.compile.compile`: it runs the stages in order.
"""

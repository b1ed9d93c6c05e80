"""Compiles rule files into a rule set.

In: rule files. Out: a `RuleSet` of atoms and formulas (`assemble`), or all problems at once. `review` adds what only
`betrace check` reports: failing tests and expired exceptions. `write` turns compiled rules into YAML.

Start reading at `dsl.compile.compile`.
"""

"""Rule files to a rule set: the stages in order.

In: rule files. Out: a `RuleSet` of atoms and formulas (`assemble`), or all problems at once. `review` adds what
`betrace check` reports besides: the tests in rule files, and expired exceptions. `write` turns compiled rules into
YAML.

Start reading at `dsl.compile.compile`.
"""

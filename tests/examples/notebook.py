# ruff: noqa: T201 (a notebook prints)
"""Asks an archive which rules are broken, and how.

Cells begin with `# %%`: editors and Jupytext show them as a notebook. The environment names the rules and the archive.
"""

# %% [markdown]
# # Which rules were broken?

# %% Load the rules
import os
from collections import Counter

import dsl
from streams.inspect import traces

rules, warnings = dsl.load([os.environ["RULES"]])
print(f"{len(rules.rules)} rules, {len(warnings)} warnings")

# %% Read the traces; those that no rule looks at have no spans
parts = traces.from_archive(os.environ["ARCHIVE"], rules)
spans = traces.by_trace(parts)
print(f"{sum(map(bool, spans.values()))} of {len(spans)} traces have spans that rules look at")

# %% Judge each
judgements = {trace_id: dsl.judge_trace(rules, of_trace) for trace_id, of_trace in spans.items()}
verdicts = Counter((each.rule.id, each.verdict.value) for of_trace in judgements.values() for each in of_trace)
for (rule_id, verdict), count in sorted(verdicts.items()):
    print(f"{rule_id:40} {verdict:15} {count:5}")

# %% Show the first trace that broke a rule, and what is missing or forbidden in it
broken = {
    trace_id: found
    for trace_id, of_trace in judgements.items()
    if (found := [each for each in of_trace if each.verdict is dsl.Verdict.BROKEN])
}
first = min(broken)
print(first.hex())
for judgement in broken[first]:
    print(f"  {judgement.rule.id}: missing {list(judgement.missing)}, present {list(judgement.present)}")
for span in sorted(spans[first], key=lambda each: each.start_ns or 0):
    print(f"  {span.name} {span.attributes}")

"""Reports: what an auditor is told of a period, from evidence alone.

    seals    ─ gather ─►  sums by rule and day, coverage, signals, rule sets   gather
    sums     ─ report ─►  a `Report`, which is also its JSON                   report, rules, model
    Report   ─ page   ─►  self-contained HTML                                  page, charts
    Report   ─ oscal  ─►  OSCAL assessment results                             oscal

A report states of a whole period only what was judged in the whole period. It does not verify the evidence:
`streams.evidence.ledger.verify` does, and the page names the command.
"""

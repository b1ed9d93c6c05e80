"""Reports: what an auditor is told of a period, from evidence alone.

    seals    ─ gather ─►  sums by rule and minute, coverage, signals, rule sets   gather
    sums     ─ resolve ─► what counts once, and when each rule judged          readings
    sums     ─ report ─►  a `Report`, which is also its JSON                   report, rules, model
    Report   ─ page   ─►  self-contained HTML                                  page, charts
    Report   ─ oscal  ─►  OSCAL assessment results                             oscal

A report states of a whole period only what was judged in the whole period. It does not verify the evidence:
`streams.evidence.ledger.verify` does, before it when there is a key, and the page says so or names the command.
"""

"""Reports on a period to an auditor, from evidence alone.

    seals    ─ gather ─►  sums by rule and minute, coverage, signals, rule sets   gather
    sums     ─ resolve ─► what counts once, and when each rule judged          readings
    sums     ─ report ─►  a `Report`, which is also its JSON                   report, rules, model
    Report   ─ page   ─►  self-contained HTML                                  page, charts
    Report   ─ oscal  ─►  OSCAL assessment results                             oscal

A report makes a statement about the whole period only if all of it was judged. It does not verify the evidence: if
there is a key, `streams.evidence.ledger.verify` does so before, and the page says so or names the command.
"""

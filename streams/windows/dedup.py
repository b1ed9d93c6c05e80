"""Groups the signals of a rule with `dedup`: those of one key and period get the same uid.

In: the facts of a chain. Out: a `Dedup` for its finding: the period in which its first fact lies, and a uid of rule,
period and the values of the attributes `by`.

All signals are published; nothing is suppressed. Whoever shows signals shows one for each dedup uid, and a count.

- The traces of a key are spread over all facts partitions, so no worker can tell which signal is the first of its key.
  If each partition suppressed its own repetitions, the signals would depend on the number of partitions, and replay,
  which has none, would publish others. A stage behind `betrace.signals`, keyed by the dedup uid, would have to wait for
  the clock of every partition, and would need state of its own for up to 30 days. And a suppressed signal could not be
  amended, so the SIEM would not learn that the one it has was repaired while the others remain.
- The uid needs no state and no other trace, so it is a function of records and rules, like the finding's uid: the same
  live, in replay and from an archive, with any batches, crashes and workers.

What determines it:

- The **period** is the one in which the chain's first fact about this rule lies (`first_fact_ms`, on which the
  finding's uid depends too), counted from the Unix epoch in steps of `for`. The time of the close would depend on how
  the records are read: at the end of a replay, windows close as of their last record.
- The **value** of a name is that of the first witness that has one: the rule's subjects in source order, and of each
  the witnesses by start, those without a start last, and then by identity. It is looked up as in the subject's where.
  Ingest hashes it as it does the join keys of pairs, with the redaction key if the attribute is redacted, and keeps the
  hash whatever the budget of the record. If no witness has it, it is missing, and findings that lack it are grouped
  together.

All revisions of a finding look at the hits of all subjects, whatever the verdict, so that they have one dedup uid. A
revision has another one only if a late span has another value and its witness comes before the others in this order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dsl import Rule
from streams.windows.facts import AtomFacts
from topics.signals.finding import Dedup, dedup_of


def signal_dedup(rule: Rule, facts: Mapping[bytes, AtomFacts], first_fact_ms: int) -> Dedup | None:
    """Return how a finding of the rule is grouped; None when the rule has no dedup."""
    dedup = rule.dedup
    if dedup is None:
        return None
    hashes = [*_hashes(dedup.atoms, facts)]
    values = {name: next((each[name] for each in hashes if name in each), None) for name in dedup.by}
    from_ms = first_fact_ms - first_fact_ms % dedup.for_ms
    return dedup_of(rule.id, rule.fingerprint, values, range(from_ms, from_ms + dedup.for_ms))


def _hashes(atoms: tuple[bytes, ...], facts: Mapping[bytes, AtomFacts]) -> Iterator[dict[str, str]]:
    """Yield the hashes of each witness by name."""
    for atom in atoms:
        for span in facts[atom].witnesses if atom in facts else ():
            yield {name: text for name, text in span.witness.attributes.items() if isinstance(text, str)}

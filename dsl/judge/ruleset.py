"""Holds compiled rules, and an index to the atoms of a span and the rules of a trace.

In: compiled rules and atoms. Out: an immutable `RuleSet`. The cost of a span depends on the names it has, the cost of a
trace on the atoms it hit; neither depends on the number of rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from hashlib import blake2b
from itertools import chain
from typing import TypeVar

from dsl.judge.atoms import Atom
from dsl.judge.formula import HitTerm, Term
from dsl.judge.span import Span

K = TypeVar("K")


class RuleSeverity(Enum):
    """How severe a violation of the rule is."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Kind(Enum):
    """The kind of a rule, which determines what its text means; `dsl.check.meaning` defines it."""

    CONDITIONAL = "conditional"
    INVARIANT = "invariant"
    PATTERN = "pattern"


class Mode(Enum):
    """Whether signals of a rule are published or only counted."""

    LIVE = "live"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Interest:
    """What a decoder must decode.

    A span can hit an atom only if `every_span` is true or `names` has its name, the name of one of its events, or the
    name of an attribute of the span, its resource or its scope. `attributes` holds every attribute that an atom may
    look up.
    """

    names: frozenset[str]
    every_span: bool
    attributes: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """The formula of a rule.

    `applies` is whether the rule is about a trace, `broken` whether the trace breaks it. `unexcepted` is `applies`
    without the rule's exceptions; None when it has none. `subjects` are all subjects in source order. A rule can apply
    to a trace only if the trace hit one of `trigger_atoms`.
    """

    applies: Term
    broken: Term
    unexcepted: Term | None
    subjects: tuple[HitTerm, ...]
    trigger_atoms: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class RuleException:
    """An exception of a rule: its condition, its owner, the reason, and the last day on which it applies."""

    where: str
    owner: str | None
    reason: str | None
    expires: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Triage:
    """Metadata for those who triage the signals of a rule; it has no effect on verdicts.

    `date` and `modified` are days such as 2026-01-05, `related` are ids of rules, `attack` and `atlas` are ids of
    techniques and tactics of MITRE ATT&CK and ATLAS. `risk_score` is from 0 to 100.
    """

    author: str | None = None
    version: str | None = None
    date: str | None = None
    modified: str | None = None
    related: tuple[str, ...] = ()
    attack: tuple[str, ...] = ()
    atlas: tuple[str, ...] = ()
    runbook: str | None = None
    false_positives: tuple[str, ...] = ()
    risk_score: int | None = None


@dataclass(frozen=True, slots=True)
class Dedup:
    """How the signals of a rule are grouped; this has no effect on verdicts.

    Signals form a group if their traces have the same values of the attributes `by`, which are sorted, and began in the
    same period of `for_ms`. `atoms` remember the values: the rule's subjects in source order, with `Use.DEDUP`.
    """

    by: tuple[str, ...]
    for_ms: int
    atoms: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One compiled rule.

    `text` is the condition as written; `definitions` has what each `@name` in it and in the exceptions stands for, such
    as `@risky = [send_email]`. `fingerprint`, 32 hex characters, covers condition, kind, time zone, exceptions
    and `dsl.judge.atoms.SEMANTICS`; two rules with the same fingerprint give the same verdicts.
    """

    id: str
    title: str
    severity: RuleSeverity
    kind: Kind
    controls: tuple[str, ...]
    owner: str | None
    tags: tuple[str, ...]
    description: str | None
    references: tuple[str, ...]
    enabled: bool
    mode: Mode
    timezone: str
    text: str
    fingerprint: str
    formula: Formula
    atoms: frozenset[bytes]
    exceptions: tuple[RuleException, ...] = ()
    definitions: tuple[str, ...] = ()
    triage: Triage = field(default_factory=Triage)
    dedup: Dedup | None = None

    @property
    def remembered_atoms(self) -> frozenset[bytes]:
        """The atoms whose facts the rule's verdicts and signals need: also those that only group signals."""
        return self.atoms if self.dedup is None else self.atoms.union(self.dedup.atoms)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """All rules of a load, sorted by id; only enabled ones have atoms and are judged.

    `fingerprint` covers all rules and their metadata; `texts` are the files that they came from.
    """

    rules: tuple[Rule, ...]
    atoms: Mapping[bytes, Atom]
    interest: Interest
    fingerprint: str
    texts: Mapping[str, str]
    _atoms: tuple[Atom, ...] = field(repr=False, compare=False)
    _any_span: tuple[int, ...] = field(repr=False, compare=False)
    _by_name: Mapping[str, tuple[int, ...]] = field(repr=False, compare=False)
    _by_atom: Mapping[bytes, tuple[int, ...]] = field(repr=False, compare=False)

    @staticmethod
    def of(rules: Iterable[Rule], atoms: Iterable[Atom], texts: Mapping[str, str]) -> RuleSet:
        """Build the index."""
        rules_by_id = tuple(sorted(rules, key=lambda rule: rule.id))
        atoms_by_fingerprint = tuple(sorted(atoms, key=lambda atom: atom.fingerprint))
        any_span = tuple(index for index, atom in enumerate(atoms_by_fingerprint) if atom.names is None)
        by_name = _index((name, index) for index, atom in enumerate(atoms_by_fingerprint) for name in atom.names or ())
        enabled = [(index, rule) for index, rule in enumerate(rules_by_id) if rule.enabled]
        return RuleSet(
            rules=rules_by_id,
            atoms={atom.fingerprint: atom for atom in atoms_by_fingerprint},
            interest=Interest(
                names=frozenset(by_name),
                every_span=bool(any_span),
                attributes=frozenset(chain.from_iterable(atom.attributes for atom in atoms_by_fingerprint)),
            ),
            fingerprint=_fingerprint(rules_by_id),
            texts=dict(texts),
            _atoms=atoms_by_fingerprint,
            _any_span=any_span,
            _by_name=by_name,
            _by_atom=_index((atom, index) for index, rule in enabled for atom in rule.formula.trigger_atoms),
        )

    def hits(self, span: Span) -> list[Atom]:
        """Return the atoms that the span satisfies, in the order of their fingerprints."""
        by_name = self._by_name
        named = [by_name[span.name]] if span.name in by_name else []
        if span.events:
            # Each name once: a span may have 100,000 events of a name that thousands of atoms use.
            named += [by_name[name] for name in {event.name for event in span.events} if name in by_name]
        for attributes in (span.attributes, span.resource, span.scope):
            for name in attributes:  # a comprehension per mapping costs 0.1 µs more
                if name in by_name:
                    named.append(by_name[name])
        if not named:
            indices: Iterable[int] = self._any_span
        elif len(named) == 1 and not self._any_span:
            indices = named[0]
        else:
            indices = sorted({*self._any_span, *chain.from_iterable(named)})
        return [atom for index in indices if (atom := self._atoms[index]).holds(span)] if indices else []

    def candidates(self, atoms: Iterable[bytes]) -> list[Rule]:
        """Return the enabled rules that may apply to a trace that hit these atoms, sorted by id."""
        indices = {index for atom in atoms for index in self._by_atom.get(atom, ())}
        return [self.rules[index] for index in sorted(indices)]


def _index(pairs: Iterable[tuple[K, int]]) -> dict[K, tuple[int, ...]]:
    by_key: defaultdict[K, list[int]] = defaultdict(list)
    for key, index in pairs:
        by_key[key].append(index)
    return {key: tuple(indices) for key, indices in by_key.items()}


def _fingerprint(rules: Iterable[Rule]) -> str:
    content = [
        (
            *(rule.id, rule.title, rule.severity.value, rule.kind.value, rule.controls, rule.owner, rule.tags),
            *(rule.description, rule.references, rule.enabled, rule.mode.value, rule.text, rule.fingerprint),
            *(rule.exceptions,),
            # A set without them keeps its fingerprint.
            *((rule.triage,) if rule.triage != Triage() else ()),
            *((rule.dedup,) if rule.dedup is not None else ()),
        )
        for rule in rules
    ]
    return blake2b(repr(content).encode(), digest_size=16).hexdigest()

"""Compiles rules to SQL over the rows of an archive.

In: a rule set. Out: conditions and expressions, as text. There are three kinds of them, each with its guarantee:

    sure        rows that hit an atom: nothing more has to be tested           (exact, for atoms that are a bare name)
    possible    rows of which some may hit an atom: `dsl` decides for each     (a superset, for all other atoms)
    truth       a formula evaluated on the facts of a whole trace              (exact, for what `can_evaluate` accepts)

So every rule can be queried: has, count, and, or, not, before and after, and pairs that first and last starts decide,
are SQL; a where narrows the rows, and the atom itself decides. Traces that a rule with another pair may apply to go to
the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from dsl import Atom, RuleSet
from dsl.compile.compile import compile_files
from dsl.judge.aggregates import Constant, QuantityTerm, TraceExtent
from dsl.judge.atoms import AtomSpec
from dsl.judge.builtin import BUILTINS, lookup_keys
from dsl.judge.formula import AllOfTerm, AnyOfTerm, CountTerm, HitCount, HitTerm, NotTerm, OrderTerm, Term
from dsl.judge.pairs import PairBoundsTerm, PairTerm
from dsl.judge.predicate import EVERY_SPAN, split_subject
from dsl.syntax import source
from dsl.syntax.nodes import AllOf, AnyOf, Boolean, Comparison, Cond, Has, Number, Text
from streams.archive.schema import BETWEEN_NAMES
from topics.records.facts import TICK_MS

TRUE = "true"
TICK = f"timestamp_ms // {TICK_MS}"

_COLUMN_OF = {"span.name": "name", "span.kind": "kind", "span.status": "status"}
_SIGNS = {"==": "=", "!=": "<>"}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_LARGEST_INTEGER = 1 << 60
"""With integers below it, a duration is compared without an overflow of 128 bits."""
_ORDERS = frozenset({"<", "<=", ">", ">=", "=="})


@dataclass(frozen=True, slots=True, kw_only=True)
class AtomSql:
    """One atom: its index in the tables of facts, and how its hits are found.

    A bare `name` is hit by every span with that name, and by those that `has` is true of. `is_every_span`: by every
    span. For all other atoms `possible` is true of every row that may hit it.
    """

    index: int
    atom: Atom
    name: str | None
    is_every_span: bool
    possible: str

    @property
    def is_sure(self) -> bool:
        """Whether SQL alone decides which rows hit it."""
        return self.is_every_span or self.name is not None

    @property
    def hit(self) -> str:
        """A condition that is true of every row that hits it, and of no other if it `is_sure`."""
        if self.name is None:
            return TRUE if self.is_every_span else self.possible
        return f"(name = {text(self.name)} OR ({self.carries} AND {self.carried}))"

    @property
    def carries(self) -> str:
        """The condition that the name is one of an attribute, an event, the resource or the scope."""
        return _carries(self.name or "")

    @property
    def carried(self) -> str:
        """The condition, for a row with the name, that an attribute of it is not false, or an event has it."""
        name = text(self.name or "")
        return f"({self.has_attribute} OR list_contains(list_transform(events, lambda event: event.name), {name}))"

    @property
    def has_attribute(self) -> str:
        """The condition, for a row with the name, that an attribute of it is not false."""
        value, letter = _value(self.name or ""), _letter(self.name or "")
        return f"coalesce(lower({value}) <> 'false' AND NOT ({letter} = 'd' AND {value} = 'nan'), false)"


def atoms(rules: RuleSet) -> list[AtomSql]:
    """Return the atoms of a rule set."""
    atom_specs = _atom_specs(rules)
    return [_atom(index, atom, atom_specs.get(atom.fingerprint)) for index, atom in enumerate(rules.atoms.values())]


def any_of(conditions: Iterable[str]) -> str:
    """Return the condition that at least one of these holds; false if there is none."""
    distinct = dict.fromkeys(conditions)
    if TRUE in distinct:
        return TRUE
    return "(" + " OR ".join(distinct) + ")" if distinct else "false"


def all_of(conditions: Iterable[str]) -> str:
    """Return the condition that each of these holds; true if there is none."""
    distinct = [each for each in dict.fromkeys(conditions) if each != TRUE]
    return "(" + " AND ".join(distinct) + ")" if distinct else TRUE


def text(value: str) -> str:
    """Return a text as an SQL literal.

    >>> text("it's")
    "'it''s'"
    """
    pieces = ["'" + piece.replace("'", "''") + "'" for piece in value.split("\0")]
    return pieces[0] if len(pieces) == 1 else "(" + " || chr(0) || ".join(pieces) + ")"


def can_evaluate(term: Term) -> bool:
    """Return whether SQL can evaluate the term on a trace: it knows neither single occurrences nor values."""
    match term:
        case QuantityTerm():
            return _extent(term) is not None
        case NotTerm(item):
            return can_evaluate(item)
        case AllOfTerm(items) | AnyOfTerm(items):
            return all(map(can_evaluate, items))
        case _:
            return not isinstance(term, PairTerm)


def truth(term: Term, columns: Mapping[bytes, int]) -> str:
    """Return the term as SQL on a trace whose facts are in the columns hit_N, first_N, last_N, count_N, unstarted_N.

    Raises `ValueError` for a term that SQL cannot evaluate.

    >>> truth(NotTerm(HitTerm("a", b"1")), {b"1": 0})
    '(NOT hit_0)'
    """
    match term:
        case NotTerm(item):
            return f"(NOT {truth(item, columns)})"
        case AllOfTerm(items) | AnyOfTerm(items):
            word = " AND " if isinstance(term, AllOfTerm) else " OR "
            return "(" + word.join(truth(item, columns) for item in items) + ")"
        case _:
            return _leaf(term, columns)


def _leaf(term: Term, columns: Mapping[bytes, int]) -> str:
    """Return a term without items as SQL."""
    match term:
        case HitTerm(_, atom):
            return f"hit_{columns[atom]}"
        case OrderTerm(_, left, op, right):
            which, sign = ("first", "<") if op == "before" else ("last", ">")
            return f"coalesce({which}_{columns[left]} {sign} {which}_{columns[right]}, false)"
        case PairBoundsTerm():
            return _pair(term, columns)
        case CountTerm(_, left, op, right):
            return f"({_side(left, columns)} {_SIGNS.get(op, op)} {_side(right, columns)})"
        case QuantityTerm() if (extent := _extent(term)) is not None:
            return _compared_extent(*extent, columns)
        case _:
            raise ValueError(f"SQL cannot evaluate {term}")


def _pair(term: PairBoundsTerm, columns: Mapping[bytes, int]) -> str:
    subject, partner = columns[term.subject], columns[term.partner]
    if term.quantifier == "some":
        first, last = (partner, subject) if term.order == "before" else (subject, partner)
        return f"coalesce(first_{first} < last_{last}, false)"
    has = f"first_{partner} < first_{subject}" if term.order == "before" else f"last_{subject} < last_{partner}"
    return f"(NOT hit_{subject} OR (NOT unstarted_{subject} AND coalesce({has}, false)))"


def _extent(term: QuantityTerm) -> tuple[TraceExtent, str, Fraction] | None:
    """Return the duration of the trace, an operator and a constant, if the term compares these and no overflow."""
    match term.left, term.right:
        case TraceExtent() as extent, Constant(value):
            op = term.op
        case Constant(value), TraceExtent() as extent:
            op = _MIRRORED.get(term.op, term.op)
        case _:
            return None
    is_small = abs(value.numerator) < _LARGEST_INTEGER and value.denominator < _LARGEST_INTEGER
    return (extent, op, value) if is_small else None


def _compared_extent(extent: TraceExtent, op: str, value: Fraction, columns: Mapping[bytes, int]) -> str:
    duration = f"last_{columns[extent.ends]}::HUGEINT - first_{columns[extent.spans]}::HUGEINT"
    return f"coalesce(({duration}) * {value.denominator} {_SIGNS.get(op, op)} {value.numerator}, false)"


def _side(side: HitCount | float, columns: Mapping[bytes, int]) -> str:
    return f"count_{columns[side.atom]}" if isinstance(side, HitCount) else repr(side)


def _atom_specs(rules: RuleSet) -> dict[bytes, AtomSpec]:
    """Return the spec of each atom; a rule set keeps the texts it was made from."""
    files, _ = source.from_texts(rules.texts)
    compiled, _ = compile_files(files)
    return {spec.fingerprint: spec for each in compiled for spec in each.atom_specs}


def _atom(index: int, atom: Atom, spec: AtomSpec | None) -> AtomSql:
    named = TRUE if atom.names is None else any_of(_is_about(name) for name in sorted(atom.names))
    if spec is None:
        return AtomSql(index=index, atom=atom, name=None, is_every_span=False, possible=named)
    subject = spec.subject
    if isinstance(subject, Has) and subject.where is None and not spec.exemptions:
        name = subject.name.text
        if name == EVERY_SPAN:
            return AtomSql(index=index, atom=atom, name=None, is_every_span=True, possible=TRUE)
        # A log record without an event name has an empty one, which no rule means.
        return AtomSql(index=index, atom=atom, name=name or None, is_every_span=False, possible=named)
    parts = split_subject(subject)
    narrowed = TRUE if parts.where is None else narrowing(parts.where, parts.name)
    return AtomSql(index=index, atom=atom, name=None, is_every_span=False, possible=all_of([named, narrowed]))


def _is_about(name: str) -> str:
    return f"name = {text(name)} OR {_carries(name)}"


def _carries(name: str) -> str:
    return f"contains(names, {text(BETWEEN_NAMES + name + BETWEEN_NAMES)})"


def narrowing(cond: Cond, subject: str | None) -> str:
    r"""Return a condition that is true of every row for which `cond` may be true.

    >>> from dsl.syntax.nodes import Name
    >>> narrowing(Comparison(Name("span.kind"), "==", Text("server")), None).replace("\n", " ")
    "(kind = 'server' OR contains(names, ' span.kind '))"
    """
    match cond:
        case AllOf(items):
            return all_of(narrowing(item, subject) for item in items)
        case AnyOf(items):
            return any_of(narrowing(item, subject) for item in items)
        case Comparison(name, op, Text() | Number() | Boolean() as literal) if op in _ORDERS and not name.path:
            narrowed = _narrowed_test(lookup_keys(name.text, subject), op, literal)
            # The attributes of an event are not among the names.
            return narrowed if subject is None or narrowed == TRUE else any_of([narrowed, _carries(subject)])
        case _:
            return TRUE


def _narrowed_test(keys: tuple[str, ...], op: str, literal: Text | Number | Boolean) -> str:
    built_in = [key for key in keys if key in BUILTINS]
    if not built_in:
        return any_of(each for key in keys for each in _attribute(key, op, literal))
    if isinstance(literal, Text) and all(key in _COLUMN_OF for key in built_in):
        columns = [f"{_COLUMN_OF[key]} = {text(literal.value)}" for key in built_in]
        return any_of([*columns, *map(_carries, keys)])
    return TRUE


def _attribute(key: str, op: str, literal: Text | Number | Boolean) -> Iterator[str]:
    """Yield conditions: one is true if the comparison may hold, for an attribute or another value of that name."""
    value, letter = _value(key), _letter(key)
    yield f"({_carries(key)} AND coalesce({value}, 'nan') = 'nan')"
    yield f"{letter} IN ('j', 'm')"
    match literal:
        case Text(expected):
            yield f"{value} = {text(expected)}"
        case Boolean(is_so):
            yield f"lower({value}) = '{str(is_so).lower()}'"
        case Number(number):
            # Rounding to doubles never reverses an order.
            sign = {"<": "<=", ">": ">=", "==": "="}.get(op, op)
            yield f"{letter} = 's'"
            yield f"try_cast({value} AS DOUBLE) {sign} {_double(number)}"


def _value(key: str) -> str:
    return f"attributes[{text(key)}]"


def _letter(key: str) -> str:
    return f"attribute_types[list_position(map_keys(attributes), {text(key)})]"


def _double(number: float) -> str:
    try:
        return f"'{float(number)!r}'::DOUBLE"
    except OverflowError:
        return f"'{'-' if number < 0 else ''}inf'::DOUBLE"

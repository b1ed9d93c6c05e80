"""Words every problem that rules can have: one function per mistake.

In: the location of a mistake and details. Out: a `Problem` with a stable code: E1 for syntax, E2 for meaning, E3 for
files, headers and YAML, and W4 for warnings, with which rules still load. `dsl.show` renders problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum

_SHOWN_SPANS = 5


class Severity(Enum):
    """Whether the problem keeps rules from loading."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A location in a file; line and column count from 1, columns in characters."""

    path: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Spot:
    """A location, its line of text (None when there is none), and the number of characters to mark."""

    location: Location
    excerpt: str | None = None
    length: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem: its location, what is wrong, what to do, and notes on why it is so."""

    code: str
    severity: Severity
    location: Location
    message: str
    help: str
    excerpt: str | None = None
    length: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTrace:
    """What a rule saw of the trace of a test: for each subject, the numbers of the spans that it matches, from 1.

    `missing`, `present` and `is_excepted` are those of the judgement.
    """

    missing: Sequence[str]
    present: Sequence[str]
    is_excepted: bool
    matches: Sequence[tuple[str, Sequence[int]]]


def sort_by_location(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems in the order of their locations, each once."""
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.location, problem.code, problem.message))


def has_errors(problems: Sequence[Problem]) -> bool:
    """Return whether any of the problems keeps the rules from loading."""
    return any(problem.severity is Severity.ERROR for problem in problems)


def _error(code: str, spot: Spot, message: str, advice: str) -> Problem:
    return Problem(
        code=code,
        severity=Severity.ERROR,
        location=spot.location,
        message=message,
        help=advice,
        excerpt=spot.excerpt,
        length=spot.length,
    )


def _warning(code: str, spot: Spot, message: str, advice: str) -> Problem:
    return Problem(
        code=code,
        severity=Severity.WARNING,
        location=spot.location,
        message=message,
        help=advice,
        excerpt=spot.excerpt,
        length=spot.length,
    )


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else "expected one of: " + ", ".join(known)


def _truncate(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"  # noqa: PLR2004 (a message stays on one line)


def unexpected(spot: Spot, token: str, advice: str) -> Problem:
    """Report a token that the grammar does not accept."""
    return _error("E101", spot, f"unexpected `{_truncate(token)}`", advice)


def unexpected_end(spot: Spot, advice: str) -> Problem:
    """Report a rule that ends in the middle of a sentence."""
    return _error("E102", spot, "unexpected end of the rule", advice)


def unterminated_string(spot: Spot) -> Problem:
    """Report a quote that is not closed on its line."""
    return _error("E103", spot, "the quoted text is not closed on its line", "close it; write a line break as \\n")


def unknown_character(spot: Spot, character: str, advice: str) -> Problem:
    """Report a character that no token starts with."""
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    return _error("E104", spot, f"`{shown}` is not allowed outside quotes", advice)


def malformed_number(spot: Spot, word: str) -> Problem:
    """Report unquoted text that starts like a number."""
    advice = f'for a text, write "{_truncate(word)}"; a duration is one number with the unit ns, us, ms, s, m, h or d'
    return _error("E105", spot, f"`{_truncate(word)}` is neither a number nor a duration", advice)


def overflowing_number(spot: Spot, word: str) -> Problem:
    """Report a number that a double cannot hold."""
    return _error("E106", spot, f"`{_truncate(word)}` is too large", "write a number below 1.7e308")


def reserved_name(spot: Spot, name: str) -> Problem:
    """Report an unquoted name that is part of the language."""
    advice = f'for an attribute, write "{_truncate(name)}" in quotes; otherwise add the missing parenthesis'
    return _error("E107", spot, f"`{_truncate(name)}` is not a name", advice)


def invalid_index(spot: Spot, word: str) -> Problem:
    """Report a number in brackets that cannot be the index of an element."""
    advice = 'count elements from 0: x[0]; a key in quotes may be any text: x["-1"]'
    return _error("E115", spot, f"`{_truncate(word)}` is not an index", advice)


def reference_to_elements(spot: Spot) -> Problem:
    """Report `$x[*]`."""
    advice = "write the path with [*] on the left: x[*] == $y"
    return _error("E116", spot, "`[*]` is not allowed after `$`", advice)


def too_deep(spot: Spot, limit: int) -> Problem:
    """Report nesting of parentheses, braces, brackets and `not` beyond the limit."""
    return _error("E108", spot, f"nested more than {limit} deep", "split the rule, or remove parentheses and `not`")


def too_long(spot: Spot, size_bytes: int, limit_bytes: int) -> Problem:
    """Report a rule that is larger than the limit."""
    return _error("E109", spot, f"the rule has {size_bytes} bytes; the limit is {limit_bytes}", "split the rule")


def group_as_subject(spot: Spot, word: str) -> Problem:
    """Report where, before or after on a parenthesised group."""
    advice = f"apply `{word}` to each subject inside the parentheses"
    return _error("E110", spot, f"`{word}` applies to a subject, not to a group in parentheses", advice)


def bare_string(spot: Spot, text: str) -> Problem:
    """Report a quoted string where a condition is needed."""
    advice = f"for a span, write trace.has({text}); to compare, repeat the name: x == … or x == {text}"
    return _error("E111", spot, f"{_truncate(text)} is not a condition by itself", advice)


def missing_clause(spot: Spot) -> Problem:
    """Report a `when` without always and never."""
    advice = "add `always { … }` with what is required, or `never { … }` with what is forbidden"
    return _error("E112", spot, "`when` has neither `always` nor `never`", advice)


def duplicate_clause(spot: Spot, clause: str) -> Problem:
    """Report a second clause of the same kind."""
    joiner = "and" if clause == "always" else "or"
    return _error("E113", spot, f"duplicate `{clause}`", f"join them by `{joiner}` in one `{clause}`")


def empty_list(spot: Spot) -> Problem:
    """Report `[]`."""
    return _error("E114", spot, "the list is empty", "name at least one value")


def missing_kind(spot: Spot) -> Problem:
    """Report a bare expression of unknown kind."""
    advice = "add `kind: pattern` (bad when true) or `kind: invariant` (bad when false), or write when … always …"
    return _error("E201", spot, "the rule does not state whether this expression is good or bad", advice)


def conflicting_kind(spot: Spot, kind: str, *, conditional: bool) -> Problem:
    """Report a kind that the form of the rule contradicts."""
    if conditional:
        return _error("E202", spot, f"a `when` rule is conditional, not {kind}", "remove `kind`")
    return _error("E202", spot, "only a `when` rule is conditional", "write when { … } always { … }, or change `kind`")


def malformed_invariant(spot: Spot, *, has_or: bool) -> Problem:
    """Report an invariant that does not state what it is about."""
    token = "an invariant must not be joined by `or`" if has_or else "an invariant needs an `and`"
    return _error("E203", spot, token, "write what it is about, then `and`, then what must be true: a and (b or c)")


def ordered_text(spot: Spot, name: str, op: str, value: str) -> Problem:
    """Report an order operator with a text operand."""
    try:
        float(value)
    except ValueError:
        advice = "compare with a number or a duration, or use == and in"
    else:
        advice = f"write {_truncate(value)} without quotes"
    return _error("E204", spot, f"`{_truncate(name)}` is compared with text, but `{op}` needs a number", advice)


def invalid_pattern(spot: Spot, reason: str) -> Problem:
    """Report a regular expression that RE2 rejects."""
    advice = "use RE2 syntax, which has no look-around and no back-references"
    return _error("E205", spot, f"invalid pattern: {_truncate(reason)}", advice)


def invalid_network(spot: Spot, text: str, advice: str) -> Problem:
    """Report a text that is not an IP network."""
    return _error("E206", spot, f'"{_truncate(text)}" is not a network', advice)


def unknown_value(spot: Spot, name: str, value: str, known: Sequence[str]) -> Problem:
    """Report a value that a built-in name never has."""
    return _error("E207", spot, f"`{name}` cannot be `{_truncate(value)}`", _did_you_mean(value, known))


def misplaced_duration(spot: Spot, name: str) -> Problem:
    """Report a duration compared with something other than `span.duration`."""
    advice = "only span.duration is a duration; write a number in the attribute's own unit"
    return _error("E208", spot, f"`{_truncate(name)}` is compared with a duration", advice)


def wrong_operand(spot: Spot, op: str, expected: str) -> Problem:
    """Report an operand that the operator does not accept."""
    return _error("E209", spot, f"`{op}` does not accept this value", f"`{op}` accepts {expected}")


def too_many_subjects(spot: Spot, count: int, limit: int) -> Problem:
    """Report a rule with too many subjects."""
    return _error("E210", spot, f"the rule has {count} subjects; the limit is {limit}", "split the rule")


def duplicate_relation(spot: Spot, relation: str) -> Problem:
    """Report a second relation of the same sort in a pair."""
    return _error("E212", spot, f"a pair can have only one {relation}", "remove one, or join two pairs by `and`")


def ordered_keys(spot: Spot, op: str) -> Problem:
    """Report a comparison of two join keys by their order."""
    advice = "use with a == b, with a != b, with same NAME or with different NAME"
    return _error("E214", spot, f"a pair cannot compare by `{op}`", advice)


def too_many_keys(spot: Spot, count: int, limit: int) -> Problem:
    """Report a pair with too many keys."""
    return _error("E215", spot, f"the pair has {count} keys; the limit is {limit}", "compare fewer attributes")


def unordered_without(spot: Spot) -> Problem:
    """Report `without … between` in a pair without an order."""
    advice = "add one of them: each a has b before without c between"
    return _error("E213", spot, "`without` needs `before` or `after`", advice)


def unknown_name(spot: Spot, name: str, known: Sequence[str]) -> Problem:
    """Report a name that neither `lists` nor `subjects` defines."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    advice = "define it under `lists:` or `subjects:` in a YAML file of the set"
    return _error(
        "E220", spot, f"unknown name `@{_truncate(name)}`", f"did you mean `@{close[0]}`?" if close else advice
    )


def circular_name(spot: Spot, names: Sequence[str]) -> Problem:
    """Report a name that is defined by itself."""
    circle = " → ".join(f"@{name}" for name in names)
    advice = "write out one of them"
    return _error("E221", spot, f"`@{_truncate(names[0])}` is defined by itself: {_truncate(circle)}", advice)


def misplaced_name(spot: Spot, name: str, *, is_list: bool) -> Problem:
    """Report a list where a subject is needed, or a subject where a list is needed."""
    shown = _truncate(name)
    if is_list:
        return _error(
            "E222", spot, f"`@{shown}` is a list, not a subject", f"write it after an operator: x in @{shown}"
        )
    return _error("E222", spot, f"`@{shown}` is a subject, not a list", f"write it where a subject can stand: @{shown}")


def expansion_too_long(spot: Spot, size_bytes: int, limit_bytes: int) -> Problem:
    """Report a rule that is larger than the limit with its names written out."""
    message = f"with its names written out, the rule has about {size_bytes} bytes; the limit is {limit_bytes}"
    return _error("E223", spot, message, "shorten the list, or split it and the rule")


def unreadable(spot: Spot, reason: str) -> Problem:
    """Report a path that cannot be read."""
    return _error("E301", spot, f"cannot be read: {reason}", "correct the path, or make it readable")


def not_utf8(spot: Spot) -> Problem:
    """Report a file that is not UTF-8."""
    return _error("E302", spot, "the file is not valid UTF-8 from here on", "save it as UTF-8")


def unknown_suffix(spot: Spot) -> Problem:
    """Report a named file that is not a rule file."""
    return _error("E303", spot, "not a rule file", "rule files end in .rules, .yaml or .yml")


def empty_directory(spot: Spot) -> Problem:
    """Report a directory without rule files."""
    return _error("E304", spot, "no rule file in this directory", "rule files end in .rules, .yaml or .yml")


def header_without_rule(spot: Spot) -> Problem:
    """Report a header without a rule."""
    return _error("E305", spot, "this header has no rule", "write the rule below it, or remove the header")


def text_without_header(spot: Spot) -> Problem:
    """Report rule text without a header."""
    advice = 'add a header above it: // "TITLE", or // Signal: NAME (severity), or // id: NAME'
    return _error("E306", spot, "this rule has no header", advice)


def duplicate_key(spot: Spot, key: str) -> Problem:
    """Report a key that occurs twice."""
    return _error("E307", spot, f"duplicate key `{key}`", "keep one of them")


def invalid_value(spot: Spot, key: str, value: str, known: Sequence[str]) -> Problem:
    """Report a value that a key cannot have."""
    return _error("E308", spot, f"`{key}` cannot be `{_truncate(value)}`", _did_you_mean(value, known))


def empty_value(spot: Spot, key: str) -> Problem:
    """Report a key without a value."""
    return _error("E309", spot, f"`{key}` has no value", "add a value, or remove the key")


def invalid_id(spot: Spot, rule_id: str) -> Problem:
    """Report an id with characters that ids must not have."""
    advice = "start with a letter or digit; then up to 127 letters, digits and . _ -"
    return _error("E310", spot, f"`{_truncate(rule_id)}` is not a valid id", advice)


def missing_id(spot: Spot) -> Problem:
    """Report a rule from whose title no id can be derived."""
    return _error("E311", spot, "no id can be derived from the title", "add an `id`")


def duplicate_id(spot: Spot, rule_id: str, first: Location) -> Problem:
    """Report the second of two rules with the same id."""
    advice = "change one of the two ids"
    return _error("E312", spot, f"the id `{rule_id}` is already used by the rule at {first.path}:{first.line}", advice)


def title_and_signal(spot: Spot) -> Problem:
    """Report a header that implies two kinds."""
    advice = "add `// kind: invariant` (bad when false) or `// kind: pattern` (bad when true)"
    return _error("E313", spot, "the title implies an invariant, the Signal line a pattern", advice)


def unknown_timezone(spot: Spot, name: str, known: Sequence[str]) -> Problem:
    """Report an unknown time zone."""
    folded = {each.lower(): each for each in known}
    close = get_close_matches(name.lower(), folded, n=1, cutoff=0.8)
    advice = f"did you mean `{folded[close[0]]}`?" if close else "write an IANA name such as Europe/Berlin, or UTC"
    return _error("E314", spot, f"unknown time zone `{_truncate(name)}`", advice)


def duplicate_name(spot: Spot, name: str, first: Location) -> Problem:
    """Report the second definition of a name."""
    message = f"`{_truncate(name)}` is already defined at {first.path}:{first.line}"
    return _error("E315", spot, message, "change one of the two names; lists and subjects share their names")


def invalid_name(spot: Spot, name: str) -> Problem:
    """Report a name that `@` cannot precede."""
    advice = "write letters, digits, _ and -, with dots between parts; start with a letter"
    return _error("E316", spot, f"`{_truncate(name)}` is not a valid name", advice)


def list_file_path(spot: Spot, path: str) -> Problem:
    """Report a list file in a place where it is not looked for."""
    advice = "write a path below the directory of this file, with / between names, that ends in .txt"
    return _error("E317", spot, f"`{_truncate(path)}` cannot be a list file", advice)


def invalid_technique(spot: Spot, text: str, *, is_atlas: bool) -> Problem:
    """Report a text that is not the id of a technique or tactic."""
    prefix, framework, example = ("AML.", "ATLAS", "AML.T0051") if is_atlas else ("", "ATT&CK", "T1059.001")
    advice = f"write a technique such as {example}, or a tactic such as {prefix}TA0001"
    return _error("E318", spot, f"`{_truncate(text)}` is not an id of {framework}", advice)


def invalid_yaml(spot: Spot, reason: str) -> Problem:
    """Report text that is not valid YAML."""
    advice = "correct the YAML; a condition with quotes, braces or colons is safe on the lines below `condition: |`"
    return _error("E320", spot, f"invalid YAML: {_truncate(reason)}", advice)


def unsupported_yaml(spot: Spot, what: str, advice: str) -> Problem:
    """Report YAML that rule files do not support."""
    return _error("E321", spot, f"{what} is not allowed in a rule file", advice)


def unknown_key(spot: Spot, key: str, known: Sequence[str]) -> Problem:
    """Report an unknown key."""
    return _error("E322", spot, f"unknown key `{_truncate(key)}`", _did_you_mean(key, known))


def wrong_type(spot: Spot, what: str, needed: str) -> Problem:
    """Report a YAML value of the wrong type."""
    return _error("E323", spot, f"`{_truncate(what)}` is not {needed}", f"write {needed}")


def missing_key(spot: Spot, key: str) -> Problem:
    """Report a missing key."""
    return _error("E324", spot, f"`{key}` is missing", f"add `{key}`")


def failed_test(spot: Spot, name: str, expected: str, actual: str, why: SeenTrace | None = None) -> Problem:
    """Report a test with an unexpected verdict."""
    advice = "correct the rule or the test"
    if (expected, actual) == ("held", "not_applicable"):
        advice = "the rule does not apply to this trace; state what it is about with `when { … }`"
    message = f"test `{_truncate(name)}` expects {expected}, but the verdict is {actual}"
    problem = _error("E330", spot, message, advice)
    return problem if why is None else replace(problem, notes=tuple(_notes(why)))


def _notes(why: SeenTrace) -> Iterator[str]:
    """Yield what was missing or present, and the spans that each subject matches; spans count from 1."""
    yield from (f"missing: {_truncate(text)}" for text in why.missing)
    yield from (f"forbidden, but present: {_truncate(text)}" for text in why.present)
    if why.is_excepted:
        yield "an exception exempts what the rule is about"
    for subject, numbers in why.matches:
        listed = ", ".join(map(str, numbers[:_SHOWN_SPANS])) + (", …" if len(numbers) > _SHOWN_SPANS else "")
        which = "no span" if not numbers else f"span {listed}" if len(numbers) == 1 else f"spans {listed}"
        yield f"`{_truncate(subject)}` matches {which}"


def depends_on_others(spot: Spot, name: str, alone: str, among: str) -> Problem:
    """Report a test whose verdict depends on the other rules of the set: a bug in BeTrace, not in the rules."""
    message = f"in test `{_truncate(name)}` the verdict is {alone} for the rule alone, but {among} with the other rules"
    return _error("E331", spot, message, "report this bug with these files: rules must not depend on each other")


def never_applicable(spot: Spot) -> Problem:
    """Warn of a rule that cannot apply to any trace."""
    return _warning("W401", spot, "this can never be true, so the rule never applies", "resolve the contradiction")


def never_broken(spot: Spot) -> Problem:
    """Warn of a rule that no trace can break."""
    advice = "look for a contradiction, or for a part that is always true"
    return _warning("W402", spot, "no trace can break this rule", advice)


def required_and_excluded(spot: Spot, subject: str) -> Problem:
    """Warn of `a and not a`."""
    advice = "two subjects can match different spans; narrow one of them with .where(…)"
    return _warning("W403", spot, f"`{_truncate(subject)}` is both required and excluded", advice)


def near_name(spot: Spot, name: str, known: str, *, built_in: bool) -> Problem:
    """Warn of a name one edit away from an OpenTelemetry attribute or a built-in name."""
    what = "a built-in name" if built_in else "an OpenTelemetry attribute"
    return _warning("W404", spot, f"`{_truncate(name)}` resembles `{known}`, {what}", f"did you mean `{known}`?")


def expired_exception(spot: Spot, day: str) -> Problem:
    """Warn of an exception that has expired."""
    advice = "remove it, or agree on a new date with its owner"
    return _warning("W405", spot, f"this exception expired on {day}", advice)


def missing_tests(spot: Spot, rule_id: str) -> Problem:
    """Warn of a rule without tests."""
    advice = "add `tests:` with a trace that breaks the rule and one that does not"
    return _warning("W406", spot, f"the rule `{rule_id}` has no tests", advice)


def mixed_and_or(spot: Spot) -> Problem:
    """Warn of `a or b and c`."""
    return _warning("W407", spot, "`and` binds tighter than `or` here", "put parentheses around the `and`")


def about_every_trace(spot: Spot) -> Problem:
    """Warn of a rule that applies to traces without any hit."""
    advice = "it opens a window for every trace; name what the rule is about to avoid that"
    return _warning("W408", spot, "this rule is about every trace", advice)


def needs_all_parents(spot: Spot) -> Problem:
    """Warn of a rule that needs the parents of all spans."""
    advice = (
        "it opens a window for every trace and keeps each span's parent; `directly above` and `directly below` do not"
    )
    return _warning("W408", spot, "this rule needs the parents of all spans of every trace", advice)


def null_comparison(spot: Spot, name: str, op: str) -> Problem:
    """Warn of `x == null`."""
    instead = f"not ({name} exists)" if op == "==" else f"{name} exists"
    advice = f"to test whether it exists, write {instead}"
    return _warning("W409", spot, "`null` is read as text, not as a missing value", advice)


def near_header(spot: Spot, key: str, advice: str) -> Problem:
    """Warn of a comment that looks like a line of a header."""
    return _warning("W410", spot, f"`{_truncate(key)}` is read as a comment", advice)


def count_above_limit(spot: Spot, limit: int) -> Problem:
    """Warn of a count compared with more than the counting limit."""
    advice = f"compare with a number below {limit}"
    return _warning("W411", spot, f"at most {limit} spans are counted, so the verdict can be undetermined", advice)


def unitless_duration(spot: Spot) -> Problem:
    """Warn of `span.duration` compared with a number without a unit."""
    return _warning("W412", spot, "`span.duration` is in nanoseconds here", "add a unit, such as 250ms")


def order_of_bounds(spot: Spot, op: str, replacement: str) -> Problem:
    """Warn of `before` or `after` where it misses occurrences."""
    which = "first" if op == "before" else "last"
    message = f"`{op}` compares only the {which} span of each subject, not the others"
    return _warning("W414", spot, message, f"to compare every span, write {_truncate(replacement)}")


def absent_measure(spot: Spot, comparison: str, negation: str) -> Problem:
    """Warn of a requirement that is false when no span has the number."""
    message = f"`{_truncate(comparison)}` is false when no span has such a number"
    return _warning("W415", spot, message, f"to require it only of spans that have one, write {_truncate(negation)}")


def empty_file(spot: Spot) -> Problem:
    """Warn of a rule file without rules."""
    return _warning("W413", spot, "this file has no rule", "add a rule, or remove the file")


def unmatched_exception(spot: Spot, pattern: str, known: Sequence[str]) -> Problem:
    """Warn of an exception for rules that the set does not have."""
    close = get_close_matches(pattern, known, n=1, cutoff=0.6)
    advice = f"did you mean `{close[0]}`?" if close else "correct the id, or remove it"
    return _warning("W421", spot, f"no rule's id fits `{_truncate(pattern)}`", advice)


def attribute_as_text(spot: Spot, text: str, instead: str | None, *, has_one_name: bool, is_own: bool) -> Problem:
    """Warn of a text that looks like the attribute of a subject: `b.where(id == a.id)`.

    `instead` is what to write, None if it is left to the reader; `is_own` when the subject is the same.
    """
    before = "" if has_one_name or is_own else "give both spans the attribute under one name and "
    if instead is not None:
        advice = f"{before}write `{instead}`, or put the text in quotes"
    elif is_own:
        advice = "put the text in quotes; another attribute of the same span is written `$name`, after `==` or `!=`"
    else:
        advice = "put the text in quotes; attributes of two spans can only be compared for equality, in a pair"
    return _warning("W420", spot, f"`{_truncate(text)}` is a text here, not an attribute", advice)


def only_held_tests(spot: Spot, rule_id: str) -> Problem:
    """Warn of a rule of which no test shows what breaks it."""
    advice = "add a test with a trace that breaks the rule"
    return _warning("W422", spot, f"every test of the rule `{rule_id}` expects held", advice)


def name_as_text(spot: Spot, text: str, instead: str, *, is_plain: bool) -> Problem:
    """Warn of a quoted name among the keys of a pair that may be meant as a text: `with k == "x"`."""
    advice = f"to compare with the text, write `{_truncate(instead)}`"
    advice += "; for the attribute, remove the quotes" if is_plain else ""
    return _warning("W423", spot, f'"{_truncate(text)}" is the name of an attribute here, not a text', advice)

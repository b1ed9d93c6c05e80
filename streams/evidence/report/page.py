"""Renders the report as one self-contained HTML page: no scripts, no fonts, no network.

Every figure is in an element whose `data-figure` is its path in the JSON, so that the two can be compared.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from html import escape

from streams.evidence.report import charts
from streams.evidence.report.history import Activation, Version
from streams.evidence.report.model import BackfillReport, BrokenTrace, ControlReport, Report, RuleReport
from streams.evidence.report.style import STYLE
from streams.evidence.report.words import amount, day, duration, minute, span, was

GAPS = 12
SOURCES = 12

_PUSHER = "Pushed by, as named by the pusher"


def page(report: Report) -> str:
    """Return the page."""
    rules = "".join(_rule(report, at) for at in range(len(report.rules)))
    title = f"Evidence report, {day(report.from_ms)} to {_last_day(report)}"
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{STYLE}</style>
<main>
{_head(report)}
{_verified(report)}
{_summary(report)}
{_controls(report)}
{_silent(report)}
{_not_judged(report)}
{_input(report)}
<h2 class="new">Rules</h2>
{rules}
{_pushes(report)}
{_proof(report)}
{_HOW}
</main>
</html>
"""


_HOW = """<section class="how"><h2>How to read this</h2><dl>
<dt>Applicable<dd>A trace is one request or job with all its steps. A rule is applicable to a trace that has what the
rule is about; only those are counted. Held, broken and undetermined add up to it. A trace that goes on after a pause
longer than late data is waited for is judged as another one, so it can count more than once here.
<dt>Undetermined<dd>The trace was not known whole, and what is missing could change the verdict. It is never counted as
held.
<dt>Pass rate<dd>Held, divided by applicable.
<dt>Coverage<dd>The part of the period that was judged. Every minute each partition of the input records which traces
are judged, by when they began, which rules judged them, and which input that was. A time is judged by a rule when it
judged all traces that began in it, in every partition. Only then are zero violations stated. A rule judges nothing
that began before it was pushed, nor shortly after, unless a backfill did: it judges those traces later, once, from the
records of that time.
<dt>Counts<dd>A verdict counts on the day on which its trace began (UTC). When late data changes a verdict, the new one
counts and the old one is taken back. Where the input was read again a verdict counts once.
<dt>Since, sealed<dd>Since when a rule was in force is the time of its record on the topic, which is the broker's unless
the topic was made otherwise. When it was sealed is the ledger's: a record that was made to look older was sealed later.
<dt>Traces seen<dd>An estimate (HyperLogLog, standard error 1.6 %) of how many distinct traces came in the period, also
those that no rule is about. Each counts once, however long it went on.
</dl></section>"""


def _last_day(report: Report) -> str:
    return day(max(report.to_ms - 1, report.from_ms))


def _figure(path: str, value: float | None, text: str | None = None) -> str:
    shown = text if text is not None else "not known" if value is None else f"{value:,}"
    return f'<span data-figure="{path}" data-value="{"" if value is None else repr(value)}">{shown}</span>'


def _percent(path: str, ratio: float | None) -> str:
    return _figure(path, ratio, "-" if ratio is None else percent(ratio))


def percent(ratio: float) -> str:
    """Return a ratio as a percentage that is 100 only for all, and 0 only for none.

    >>> percent(1), percent(0.999999), percent(0.5), percent(0.0000001)
    ('100 %', '99.99 %', '50.00 %', '0.01 %')
    """
    if ratio in (0, 1):
        return f"{ratio:.0%}".replace("%", " %")
    return f"{min(max(ratio * 100, 0.01), 99.99):.2f} %"


def _head(report: Report) -> str:
    about = f" · control {escape(report.control)}" if report.control else ""
    return f"""<header><p class="kicker">Evidence report{about}</p>
<h1>Operation of controls over {escape(report.period)}</h1>
<p class="soft">{span(report.from_ms, report.to_ms)} UTC · log {escape(report.evidence.origin or "not known")} ·
made {minute(report.made_ms // 60_000 * 60_000)} UTC</p></header>"""


def _verified(report: Report) -> str:
    evidence = report.evidence
    verified = evidence.verified
    if verified is None:
        return """<p class="statement unverified"><b>NOT VERIFIED.</b> This report was made without the public key:
whether the evidence was changed is not known, and every figure below is what it claims.</p>"""
    gaps = f" It has {amount(verified.gaps, 'gap')}, see what was not judged." if verified.gaps else ""
    return f"""<p class="soft">Verified before this report was made, with {escape(", ".join(verified.keys))}: nothing of
{amount(verified.seals, "seal")} was changed, and the counts agree with one another.{gaps} Head: {verified.head_size:,}
seals, root <code>{escape(verified.head_root)}</code></p>"""


def _silent(report: Report) -> str:
    """Return the rules and services that were exercised before, and are not now."""
    rules = [
        f'<tr><td><a href="#rule-{escape(rule.id)}">{escape(rule.id)}</a><td>{day(rule.silence.since_ms)}'
        f"<td>{rule.silence.applicable_before:,}</tr>"
        for rule in report.rules
        if rule.silence is not None
    ]
    services = [
        f"<tr><td>{escape(service.name)}<td>{day(service.since_ms)}<td>{service.days_before} of 14 days</tr>"
        for service in report.silent_services
    ]
    tables = ""
    if rules:
        tables += f"""<p>These rules applied to traces in the fortnight before, and to none since.</p>
<table><tr><th>Rule<th>Silent since<th>Applicable in the fortnight before</tr>{"".join(rules)}</table>"""
    if services:
        tables += f"""<p>These services sent records in the fortnight before, and none since, as far as was read.</p>
<table><tr><th>Service<th>Silent since<th>Sent on</tr>{"".join(services)}</table>"""
    return f"<section><h2>No longer exercised</h2>{tables}</section>" if tables else ""


def _resets(report: Report) -> str:
    if not report.judged.resets:
        return ""
    items = "".join(
        f"<li>From {'a time that is not known' if one.from_ms is None else minute(one.from_ms)} on, found "
        f"{'at a time that is not known' if one.found_ms is None else minute(one.found_ms)}, in partitions "
        f"{escape(_numbers(one.partitions))}.</li>"
        for one in report.judged.resets
    )
    twice = max((rule.judged.read_twice for rule in report.rules), default=0)
    rest = (
        f" {amount(twice, 'minute')} were read in part by more than one reading: they are not judged." if twice else ""
    )
    return f"""<section><h2>Read again</h2><p>The input was read again (its offsets were reset). What was judged twice
counts once.{rest}</p><ul>{items}</ul></section>"""


def _summary(report: Report) -> str:
    sums = {
        name: sum(getattr(rule.counts, name) for rule in report.rules) for name in ("held", "broken", "undetermined")
    }
    applicable = sum(sums.values())
    kind = "bad" if sums["broken"] > 0 else "good" if report.is_whole else "doubt"
    judged = report.judged
    tiles = (
        ("Traces seen", _figure("input/traces_seen_estimate", report.input.traces_seen_estimate), "estimate"),
        ("Applicable", f"{applicable:,}", "verdicts of all rules"),
        ("Held", f"{sums['held']:,}", f"pass rate {percent(sums['held'] / applicable)}" if applicable > 0 else "none"),
        ("Broken", f"{sums['broken']:,}", f"{sums['undetermined']:,} undetermined"),
        ("Coverage", percent(judged.coverage), f"of {escape(report.period)} judged"),
    )
    shown = "".join(f"<div><dt>{name}<dd>{value}<small>{note}</small></div>" for name, value, note in tiles)
    return f"""<p class="statement {kind}">{escape(report.statement)}</p>
<dl class="tiles">{shown}</dl>
{charts.timeline(judged, report.from_ms, report.to_ms)}
<p class="legend"><i class="held"></i>judged <i class="gap"></i>not judged</p>"""


def _controls(report: Report) -> str:
    rows = "".join(_control(at, control) for at, control in enumerate(report.controls))
    return f"""<section><h2>Controls</h2><table class="figures"><tr><th>Control<th>Rules<th>Applicable<th>Held<th>Broken
<th>Undetermined<th>Pass rate<th>Whole period</tr>{rows}</table></section>"""


def _control(at: int, control: ControlReport) -> str:
    path = f"controls/{at}"
    counts = control.counts
    rules = ", ".join(f'<a href="#rule-{escape(rule)}">{escape(rule)}</a>' for rule in control.rules)
    mark = (
        '<b class="good">held</b>' if control.is_proven else '<b class="bad">broken</b>' if counts.broken > 0 else "-"
    )
    return (
        f'<tr><th>{escape(control.control or "no control named")}<td class="words">{rules}'
        f"<td>{_figure(f'{path}/applicable', control.applicable)}<td>{_figure(f'{path}/counts/held', counts.held)}"
        f'<td class="{"bad" if counts.broken > 0 else ""}">{_figure(f"{path}/counts/broken", counts.broken)}'
        f"<td>{_figure(f'{path}/counts/undetermined', counts.undetermined)}"
        f"<td>{_percent(f'{path}/pass_rate', control.pass_rate)}<td>{mark}</tr>"
    )


def _not_judged(report: Report) -> str:
    judged = report.judged
    resets = _resets(report)
    if not judged.gaps:
        partial = [rule for rule in report.rules if rule.judged.judged_ms < judged.period_ms]
        if not report.rules:
            return f"<section><h2>Not judged</h2><p>No rule was in force.</p></section>{resets}"
        if partial:
            return f"{_by_rule(partial)}{resets}"
        return f"""<section><h2>Not judged</h2><p>Nothing: each of the
{_figure("judged/hours", judged.hours)} hours was judged, by every partition and every rule.</p></section>{resets}"""
    rows = "".join(
        f"<tr><td>{span(gap.from_ms, gap.to_ms)}<td>{duration(gap.to_ms - gap.from_ms)}<td>"
        f"{escape(_numbers(gap.partitions) or 'all')}</tr>"
        for gap in judged.gaps[:GAPS]
    )
    verb = was(amount(judged.hours_with_gaps, "hour"))
    more = len(judged.gaps) - GAPS
    rest = f"<p>… and {amount(more, 'more gap')}; the JSON of this report lists all.</p>" if more > 0 else ""
    return f"""<section><h2>Not judged</h2>
<p>{_figure("judged/hours_with_gaps", judged.hours_with_gaps)} of {_figure("judged/hours", judged.hours)} hours
{verb} not judged as a whole, {escape(duration(judged.period_ms - judged.judged_ms))} in all.</p>
<table><tr><th>Time (UTC)<th>Length<th>Partitions</tr>{rows}</table>{rest}</section>{resets}"""


def _by_rule(partial: list[RuleReport]) -> str:
    rows = "".join(
        f'<tr><td><a href="#rule-{escape(rule.id)}">{escape(rule.id)}</a><td>{percent(rule.judged.coverage)}'
        f"<td>{'; '.join(span(one.from_ms, one.to_ms) for one in rule.judged.times[:GAPS]) or 'nothing'}</tr>"
        for rule in partial[:GAPS]
    )
    more = len(partial) - GAPS
    rest = f"<p>… and {amount(more, 'more rule')}; see each rule below.</p>" if more > 0 else ""
    return f"""<section><h2>Not judged</h2><p>Every partition was judged, but not by every rule.</p>
<table><tr><th>Rule<th>Coverage<th>It judged (UTC)</tr>{rows}</table>{rest}</section>"""


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _input(report: Report) -> str:
    taken = report.input
    lost = [
        f"<tr><td>{escape(source.topic)}[{source.partition}]<td>lost: {begin:,} to {end - 1:,}<td>{end - begin:,}</tr>"
        for source in taken.sources
        for begin, end in source.lost
    ]
    dead = [
        f"<tr><td>{escape(source.topic)}[{source.partition}]<td>could not be decoded, of {source.from_offset:,} to "
        f"{source.to_offset - 1:,}<td>{source.dead_letters:,}</tr>"
        for source in taken.sources
        if source.dead_letters
    ]
    rows = [*lost, *dead]
    table = f"<table><tr><th>Source<th>Offsets<th>Records</tr>{''.join(rows[:SOURCES])}</table>" if rows else ""
    more = f"<p>… and {len(rows) - SOURCES:,} more; the JSON of this report lists all.</p>" if rows[SOURCES:] else ""
    unreadable = len(report.evidence.unreadable)
    return f"""<section><h2>Lost or undecodable input</h2><dl class="row">
<div><dt>Source records lost<dd>{_figure("input/lost", taken.lost)}</div>
<div><dt>Source records that could not be decoded<dd>{_figure("input/undecodable", taken.undecodable)}</div>
<div><dt>Verdict records lost<dd>{_figure("input/verdict_records_lost", taken.verdict_records_lost)}</div>
<div><dt>Files of evidence unreadable<dd>{unreadable:,}</div></dl>{table}{more}</section>"""


def _rule(report: Report, at: int) -> str:
    rule, path = report.rules[at], f"rules/{at}"
    counts = rule.counts
    cells = "".join(
        f"<div><dt>{name}<dd>{_figure(f'{path}/{where}', value)}</div>"
        for name, where, value in (
            ("Applicable", "applicable", rule.applicable),
            ("Held", "counts/held", counts.held),
            ("Broken", "counts/broken", counts.broken),
            ("Undetermined", "counts/undetermined", counts.undetermined),
            ("Excepted", "counts/excepted", counts.excepted),
        )
    )
    kind = "bad" if counts.broken > 0 else "good" if rule.is_proven else "doubt"
    return f"""<article id="rule-{escape(rule.id)}"><h3>{escape(rule.title)}</h3>
<p class="soft">{escape(" · ".join(_about(rule)))}</p>
<p class="statement {kind}">{escape(rule.statement)}</p>
{"".join(map(_backfill, rule.backfills))}
<dl class="row">{cells}<div><dt>Pass rate<dd>{_percent(f"{path}/pass_rate", rule.pass_rate)}</div>
<div><dt>Coverage<dd>{_percent(f"{path}/judged/coverage", rule.judged.coverage)}</div></dl>
{charts.days(rule.days)}
<p class="legend"><i class="held"></i>held <i class="undetermined"></i>undetermined <i class="broken"></i>broken
<i class="hatch"></i>day that the rule did not judge as a whole</p>
{_exceptions(rule)}{_traces(rule)}{_text(report, rule)}</article>"""


def _backfill(backfill: BackfillReport) -> str:
    times = "; ".join(span(one.from_ms, one.to_ms) for one in backfill.times[:GAPS]) or "No time as a whole"
    left = [
        f"{amount(count, 'trace')} {was(amount(count, 'trace'))} left out: {why}"
        for count, why in (
            (backfill.half_seen, "there before the records that were read"),
            (backfill.unfinished, "not over when it was made"),
        )
        if count
    ]
    if backfill.undecodable:
        left.append(f"{amount(backfill.undecodable, 'source record')} could not be read")
    rest = f" {escape('; '.join(left))}." if left else ""
    made = f"judged by backfill on {day(backfill.made_ms)} by {escape(backfill.by)}"
    return f"""<p class="soft">{times}: {made}; later spans
do not amend it.{rest} <code>{escape(backfill.origin)}</code></p>"""


def _about(rule: RuleReport) -> Iterable[str]:
    yield rule.id
    if rule.severity:
        yield f"severity {rule.severity}"
    yield f"owner {rule.owner}" if rule.owner else "no owner named"
    yield from rule.controls
    if rule.is_shadow:
        yield "shadow: counted, no signals"


def _exceptions(rule: RuleReport) -> str:
    if not rule.exceptions:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(one.where)}</code><td>{escape(one.owner or 'nobody')}<td>{escape(one.reason or '-')}"
        f"<td>{escape(one.expires or 'never')}{' <b>expired</b>' if one.has_expired else ''}</tr>"
        for one in rule.exceptions
    )
    return f"<h4>Exceptions</h4><table><tr><th>Where<th>Owner<th>Reason<th>Last day</tr>{rows}</table>"


def _traces(rule: RuleReport) -> str:
    if not rule.broken_traces:
        return ""
    shown = "".join(map(_trace, rule.broken_traces))
    more = rule.signals - len(rule.broken_traces)
    rest = f"<p>… and {amount(more, 'older signal')}, not shown.</p>" if more > 0 else ""
    return f"<h4>{amount(rule.signals, 'signal')} at the end of the period</h4>{shown}{rest}"


def _trace(trace: BrokenTrace) -> str:
    summary = f"{trace.verdict}, {trace.severity}, {minute(trace.happened_ms)} UTC, judged at {minute(trace.time_ms)}"
    attributes = "; ".join(
        dict.fromkeys(f"{name} = {value}" for one in trace.witnesses for name, value in one.attributes.items())
    )
    return f"""<div class="trace"><p><b>{escape(trace.message)}</b></p>
<p class="soft">{escape(summary)} · trace <code>{escape(trace.trace_id)}</code> · signal
<code>{escape(trace.uid)}.{trace.revision}</code></p>
{charts.waterfall(trace.witnesses)}<p class="soft small">{escape(attributes)}</p></div>"""


def _text(report: Report, rule: RuleReport) -> str:
    if rule.text is None:
        return "<h4>Rule</h4><p>Its text is not in this evidence: no rule set that has it was sealed.</p>"
    changes = [one for one in rule.versions if report.from_ms <= one.from_ms < report.to_ms]
    changed = (
        f"It changed {amount(len(changes), 'time')} in the period."
        if changes
        else "It did not change in the period."
        if rule.versions
        else "Since when it is in force is not in this evidence."
    )
    rows = "".join(
        f"<tr><td>{minute(one.from_ms)}<td>{'in force' if one.to_ms is None else minute(one.to_ms)}"
        f"<td>{_sealed(one)}<td>{escape(one.pushed_by or 'not known')}<td>{escape(one.revision or '-')}"
        f"<td><code>{escape(one.fingerprint)}</code>{' shadow' if one.mode == 'shadow' else ''}"
        f"<td><pre>{escape(one.text)}</pre></tr>"
        for one in reversed(rule.versions)
    )
    header = f"<tr><th>Since (UTC)<th>Until<th>Sealed (UTC)<th>{_PUSHER}<th>Revision<th>Fingerprint<th>Text</tr>"
    table = f"<table>{header}{rows}</table>" if rows else ""
    text = "" if rows else f"<pre>{escape(rule.text)}</pre>"
    return f"<h4>Rule</h4><p>{changed}</p>{text}{table}"


def _sealed(one: Activation | Version) -> str:
    return "-" if one.sealed_ms is None else minute(one.sealed_ms)


def _pushes(report: Report) -> str:
    if not report.rule_sets:
        return ""
    rows = "".join(
        f"<tr><td>{minute(one.from_ms)}<td>{_sealed(one)}<td>{escape(one.pushed_by or 'not known')}"
        f"<td>{escape(one.revision or '-')}"
        f"<td><code>{escape(one.rule_set)}</code></tr>"
        for one in reversed(report.rule_sets)
    )
    return f"""<section><h2>Rule sets in force</h2>
<table><tr><th>Since (UTC)<th>Sealed (UTC)<th>{_PUSHER}<th>Revision<th>Rule set</tr>{rows}</table></section>"""


def _proof(report: Report) -> str:
    evidence = report.evidence
    rows = (
        ("Evidence", evidence.place),
        ("Log", evidence.origin or "not known"),
        ("Seals read", f"{evidence.first_seal} to {evidence.end_seal - 1}"),
        ("Head", f"{evidence.head_size} seals, {evidence.head_file}"),
        ("Root of the head", evidence.head_root or "not readable"),
        ("SHA-256 of the tree head", evidence.head_sha256 or "not readable"),
        ("SHA-256 of the head's file", evidence.head_file_sha256 or "not readable"),
    )
    table = "".join(f"<tr><th>{name}<td><code>{escape(text)}</code></tr>" for name, text in rows)
    compare = f"betrace evidence compare {shlex.quote(evidence.place)} coverage.jsonl --key ledger.pub"
    return f"""<section><h2>How to verify</h2><p>The figures are sums of records in an append-only Merkle log, whose
head is signed once a minute. This command needs only the evidence and the public key; it finds any change, removal,
insertion, new order and gap, and says where. Its last lines name the head: it must go on from the one below.</p>
<pre class="command">{escape(report.verify)}</pre><table class="proof">{table}</table>
<p>What this cannot prove: whoever runs the ledger, has its key, and writes or leaves out records before they are sealed
can make a history that agrees with itself. It does not agree with a head kept elsewhere, nor with the coverage records
that a second party keeps for itself; this command compares them:</p>
<pre class="command">{escape(compare)}</pre></section>"""

"""Renders a signal and the waterfall of its trace as one HTML page without scripts, fonts or network access."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from streams.inspect import waterfall
from streams.inspect.waterfall import Extent, Row
from topics.signals.digest import Digest
from topics.signals.finding import SignalWitness
from topics.times import rfc3339_clamped

ROWS = 10_000
INDENTS = 40
_PARTS = 10_000

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1d21; --paper: #fff; --soft: #6a7078; --rule: #dfe3e8; --bar: #5b8def;
  --hit: #d99000; --error: #c62f2f; --good: #2e7d42; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #16181c; --soft: #98a0aa; --rule: #31363d;
  --bar: #5b8def; --hit: #f0b429; --error: #ef6b6b; --good: #62c17d; } }
body { font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; } h2 { font-size: 1rem; margin: 1.8rem 0 .5rem; }
.message { font-size: 1.05rem; } .soft { color: var(--soft); } .gone { color: var(--error); }
.tag { border: 1px solid currentColor; border-radius: 3px; padding: 0 .4rem; font-size: .8rem; margin-right: .3rem; }
.critical, .high, .broken, .error { color: var(--error); } .medium, .undetermined, .hit { color: var(--hit); }
.held, .not_applicable { color: var(--good); }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .12rem .6rem .12rem 0;
  border-bottom: 1px solid var(--rule); vertical-align: top; } th { color: var(--soft); font-weight: 500; }
td { overflow-wrap: anywhere; } .name { width: 30%; } .lane { width: 40%; position: relative; }
td.took { white-space: nowrap; padding-left: .6rem; }
.bar { position: absolute; top: .35rem; height: .7rem; min-width: 2px; background: currentColor; border-radius: 2px; }
.plain .bar { color: var(--bar); } code { font-family: ui-monospace, monospace; font-size: .9em; }
"""


def page(signal: Digest, rows: Sequence[Row], gone: Iterable[str]) -> str:
    """Return the page, with at most 10,000 spans; `gone` lists the records that are no longer on their topics."""
    extent = waterfall.extent(rows)
    spans = "\n".join(_row(row, extent) for row in rows[:ROWS])
    more = f"<p>… and {len(rows) - ROWS} more spans.</p>" if len(rows) > ROWS else ""
    lost = "".join(f'<p class="gone">{escape(text)}</p>' for text in gone)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(signal.title)}</title>
<style>{_STYLE}</style>
<h1>{escape(signal.title)}</h1>
<p><span class="tag {escape(signal.severity)}">{escape(signal.severity)}</span>
<span class="tag {escape(signal.verdict)}">{escape(signal.verdict)}</span></p>
<p class="message">{escape(signal.message)}</p>
<table>{_facts(signal)}</table>
<h2>Witnesses</h2>
<table><tr><th>subject<th>span<th>service<th>attributes</tr>{"".join(map(_witness, signal.witnesses))}</table>
<h2>Trace</h2>
{lost}<table><tr><th>span<th>service<th class="lane"><th>took<th>rule</tr>
{spans}
</table>{more}
<p class="soft">Spans and log records between the offsets that the signal names; attributes only as the signal has
them.</p>
</html>
"""


def _facts(signal: Digest) -> str:
    facts = {
        "rule": signal.rule_id,
        "signal": f"{signal.uid}.{signal.revision}",
        "trace": signal.trace_id,
        "when": rfc3339_clamped(signal.happened_ms),
        "judged at": rfc3339_clamped(signal.time_ms),
        "missing": ", ".join(signal.missing) or "-",
        "present": ", ".join(signal.present) or "-",
        "source": ", ".join(f"{at.topic} {at.partition}: {at.first_offset}-{at.last_offset}" for at in signal.sources),
    }
    return "".join(f"<tr><th>{name}<td><code>{escape(text)}</code></tr>" for name, text in facts.items())


def _witness(shown: SignalWitness) -> str:
    attributes = "<br>".join(
        f"<code>{escape(name)} = {escape(str(value))}</code>" for name, value in sorted(shown.attributes.items())
    )
    cells = (shown.subject, shown.name, shown.service or "-")
    return f"<tr>{''.join(f'<td>{escape(cell)}' for cell in cells)}<td>{attributes}</tr>"


def _row(row: Row, extent: Extent) -> str:
    kind = "error" if row.is_error else "hit" if row.subjects else "plain"
    indent = min(row.depth, INDENTS)
    name = ("· " if row.is_log else "") + row.name
    took = "" if row.duration_ns is None else waterfall.duration(row.duration_ns)
    return (
        f'<tr class="{kind}"><td class="name" style="padding-left:{indent}em">{escape(name)}<td>'
        f'{escape(row.service or "-")}<td class="lane">{_bar(row, extent)}<td class="took">{took}<td>'
        f"{escape(', '.join(row.subjects))}</tr>"
    )


def _bar(row: Row, extent: Extent) -> str:
    bar = extent.bar(row, _PARTS)
    if bar is None:
        return ""
    start, length = bar
    return f'<span class="bar" style="left:{start * 100 / _PARTS:g}%;width:{length * 100 / _PARTS:g}%"></span>'

"""The style of a report's page: the same on a screen and on paper, black on white."""

STYLE = """
:root { --ink: #1b1f24; --soft: #5d6671; --line: #d9dee4; --held: #3d7f72; --broken: #b3261e; --doubt: #b26a00;
  --undetermined: #d9a441; --paper: #fff; }
* { box-sizing: border-box; }
body { margin: 0; background: #eef1f4; color: var(--ink); font: 14px/1.5 "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
main { max-width: 860px; margin: 24px auto; padding: 48px 56px; background: var(--paper);
  box-shadow: 0 1px 4px #0002; }
header { border-bottom: 3px solid var(--ink); padding-bottom: 14px; margin-bottom: 20px; }
.kicker { margin: 0; text-transform: uppercase; letter-spacing: .12em; font-size: 11px; font-weight: 600;
  color: var(--held); }
h1 { font: 400 28px/1.2 Georgia, "Times New Roman", serif; margin: 4px 0 6px; }
h2 { font: 400 20px/1.3 Georgia, "Times New Roman", serif; margin: 34px 0 10px; border-bottom: 1px solid var(--line);
  padding-bottom: 4px; }
h3 { font: 400 17px/1.3 Georgia, "Times New Roman", serif; margin: 0 0 2px; }
h4 { font-size: 12px; margin: 18px 0 6px; text-transform: uppercase; letter-spacing: .06em; color: var(--soft); }
p { margin: 0 0 10px; } .soft { color: var(--soft); } .small, small { font-size: 11px; }
.statement { border-left: 4px solid var(--line); padding: 8px 14px; background: #f6f8f9; overflow-wrap: anywhere; }
header + .statement { font-size: 16px; }
.statement.good { border-color: var(--held); } .statement.bad { border-color: var(--broken); }
.statement.doubt { border-color: var(--doubt); }
b.good { color: var(--held); } .bad { color: var(--broken); font-weight: 600; } .statement.bad { font-weight: 400;
  color: inherit; }
dl { margin: 0; } dt { color: var(--soft); font-size: 11px; } dd { margin: 0; }
.unverified { background: #b3261e; color: #fff; padding: 10px 14px; border-radius: 3px; }
.tiles, .row { display: flex; flex-wrap: wrap; gap: 10px 28px; margin: 16px 0; }
.tiles > div { flex: 1 1 110px; border-top: 1px solid var(--line); padding-top: 6px; }
.tiles dd { font: 400 23px/1.25 Georgia, "Times New Roman", serif; } .tiles small { display: block; color: var(--soft);
  font-family: Arial, sans-serif; }
.row dd { font-size: 16px; }
table { width: 100%; border-collapse: collapse; margin: 6px 0 10px; font-size: 13px; }
th, td { text-align: left; vertical-align: top; padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); }
tr:first-child > th { color: var(--soft); font-weight: 400; font-size: 11px; border-bottom-color: var(--soft); }
.figures td, .figures tr:first-child th { text-align: right; } .figures th:first-child, .figures td.words,
.figures tr:first-child th:nth-child(-n+2) { text-align: left; } .figures td { white-space: nowrap; }
.figures td.words { white-space: normal; } .figures a { color: inherit; }
.proof tr > th { width: 190px; color: var(--soft); font-weight: 400; font-size: 12px;
  border-bottom-color: var(--line); }
code, pre { font: 12px/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; overflow-wrap: anywhere; }
pre { margin: 0; white-space: pre-wrap; } .command { background: #f1f3f5; border: 1px solid var(--line);
  padding: 10px 12px; margin: 10px 0; }
article { border-top: 1px solid var(--line); padding: 20px 0 12px; }
h2.new + article { border-top: 0; padding-top: 4px; }
svg { display: block; width: 100%; height: auto; margin: 8px 0; } svg text { font: 10px Arial, sans-serif;
  fill: var(--soft); }
svg .tick { text-anchor: middle; } svg .scale, svg .took { text-anchor: end; } .fall text { font-size: 11px;
  fill: var(--ink); }
.grid { stroke: var(--line); stroke-width: 1; } .held { fill: var(--held); background: var(--held); }
.broken { fill: var(--broken); background: var(--broken); } .gap { fill: var(--doubt); background: var(--doubt); }
.undetermined { fill: var(--undetermined); background: var(--undetermined); } .span { fill: #4a6fa5; }
svg .hatch { fill: #f3d9ae; } i.hatch { background: #f3d9ae; }
.legend { font-size: 11px; color: var(--soft); } .legend i { display: inline-block; width: 10px; height: 10px;
  margin: 0 4px 0 10px; border-radius: 2px; vertical-align: -1px; } .legend i:first-child { margin-left: 0; }
.trace { border: 1px solid var(--line); border-radius: 3px; padding: 10px 14px 4px; margin: 8px 0; }
.trace p { margin-bottom: 4px; overflow-wrap: anywhere; }
.moments { list-style: none; margin: 0 0 0 6px; padding: 0; border-left: 2px solid var(--line); }
.moments li { position: relative; padding: 2px 0 14px 112px; overflow-wrap: anywhere; }
.moments li::before { content: ""; position: absolute; left: -6px; top: 8px; width: 10px; height: 10px;
  border-radius: 5px; background: var(--mark, var(--held)); }
.moments .broken-one { --mark: var(--broken); } .moments .doubt-one { --mark: var(--undetermined); }
.moments .other-one { --mark: var(--soft); }
.moments time { position: absolute; left: 16px; color: var(--soft); font-size: 12px; line-height: 21px; }
.moments p { margin: 0; } .kind { font-size: 10px; text-transform: uppercase; letter-spacing: .06em; color: var(--soft);
  margin-left: 6px; }
.pairs { display: grid; grid-template-columns: max-content 1fr; gap: 0 12px; margin-top: 4px; font-size: 12px; }
.pairs dt { font-size: 12px; } .moments .fall { max-width: 640px; } .how dt { font-size: 13px; color: var(--ink);
  font-weight: 600; margin-top: 8px; }
@page { size: A4; margin: 16mm 15mm; }
@media print { body { background: none; font-size: 11px; } main { box-shadow: none; margin: 0; padding: 0;
  max-width: none; } table { font-size: 11px; } h1 { font-size: 23px; } h2 { font-size: 16px; margin: 18px 0 6px; }
  header { padding-bottom: 8px; margin-bottom: 12px; } header + .statement { font-size: 13px; }
  .tiles, .row { margin: 10px 0; } .tiles dd { font-size: 18px; } h2, h3, h4 { break-after: avoid; }
  .trace, svg, tr, li, .statement, .tiles { break-inside: avoid; }
  h2.new { break-before: page; } a { text-decoration: none; } }
"""

"""The look of the report: one style sheet, light and dark by the reader's system, black on white when printed."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--panel:#f6f7f8;--ink:#1a1f26;--muted:#58616d;--line:#dadee3;--t:#a3abb5;
--area:#d5d9de;--s:#cc4e0a;--u:#0f62ae;--bad:#b3261e;--badbg:#fceeec;--warn:#8a5a00;--warnbg:#fdf3dc;--good:#1b6e3c;
--goodbg:#e8f5ec;--info:#4b3f9e;--infobg:#efedfb;--none:#58616d;--nonebg:#eef0f2}
@media (prefers-color-scheme:dark){:root{--bg:#13161a;--panel:#1b2026;--ink:#e7eaee;--muted:#a2abb6;--line:#343b44;
--t:#77818d;--area:#39414b;--s:#ff9a52;--u:#66b2ff;--bad:#ff8a80;--badbg:#3a1c1a;--warn:#f2c35b;--warnbg:#352a10;
--good:#7fd69b;--goodbg:#16301f;--info:#b9b0ff;--infobg:#26224a;--none:#a2abb6;--nonebg:#262c33}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 28px 56px}
.top{display:flex;justify-content:space-between;gap:16px;color:var(--muted);font-size:13px;margin-bottom:12px}
h1{font-size:23px;line-height:1.32;font-weight:640;margin:12px 0 6px;max-width:52em;text-wrap:pretty}
h2{font-size:16px;font-weight:650;margin:36px 0 4px}
h3{font-size:14px;font-weight:650;margin:0 0 6px}
h3 small{font-weight:400;color:var(--muted);font-size:12px}
p{margin:4px 0}
.lead{color:var(--muted);max-width:70em;margin:0 0 12px}
.status{border:1px solid var(--line);border-left:6px solid var(--tone);border-radius:6px;padding:16px 20px 14px}
.badge{display:inline-block;background:var(--tonebg);color:var(--tone);font-weight:700;font-size:12.5px;
letter-spacing:.05em;padding:3px 10px;border-radius:4px}
.cause_found{--tone:var(--bad);--tonebg:var(--badbg)}.suspected{--tone:var(--warn);--tonebg:var(--warnbg)}
.consistent{--tone:var(--good);--tonebg:var(--goodbg)}.population_changed{--tone:var(--info);--tonebg:var(--infobg)}
.cannot_tell{--tone:var(--none);--tonebg:var(--nonebg)}
.kind{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:13px;
color:var(--muted);overflow-wrap:anywhere}
.facts{display:flex;flex-wrap:wrap;gap:8px 30px;margin:14px 0 0;padding-top:12px;border-top:1px solid var(--line)}
.facts div{min-width:0}
.facts dt{font-size:12px;color:var(--muted)}
.facts dd{margin:0;font-weight:600;font-variant-numeric:tabular-nums}
.facts dd small{display:block;font-weight:400;color:var(--muted)}
.columns{display:grid;grid-template-columns:minmax(0,1.55fr) minmax(0,1fr);gap:10px 40px}
.columns h2{margin-top:22px}
ol.evidence{margin:6px 0;padding:0;list-style:none;counter-reset:n}
ol.evidence li{padding:5px 0 5px 34px;position:relative;border-top:1px solid var(--line);overflow-wrap:anywhere}
ol.evidence li:first-child{border-top:0}
ol.evidence li b{position:absolute;left:0;top:6px;width:22px;height:20px;border-radius:10px;background:var(--nonebg);
color:var(--muted);font-size:12px;line-height:20px;text-align:center}
ol.evidence small{color:var(--muted);white-space:nowrap}
ul{margin:6px 0;padding-left:18px}
li{overflow-wrap:anywhere}
.fix{font-weight:600}.fix::first-letter{text-transform:uppercase}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;background:var(--panel);
border-radius:4px;padding:2px 6px;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:16px;align-items:start}
figure{margin:0}
.card{border:1px solid var(--line);border-radius:6px;padding:14px 16px;break-inside:avoid}
figcaption{font-size:13px;color:var(--muted);margin-top:6px}
.name{unicode-bidi:isolate;overflow-wrap:anywhere}
.multiples{display:grid;grid-template-columns:repeat(auto-fill,minmax(172px,1fr));gap:14px 20px}
.small{break-inside:avoid;display:flex;flex-direction:column;justify-content:space-between}
.small figcaption{display:flex;justify-content:space-between;gap:8px;margin:0 0 2px;color:var(--ink);font-size:12.5px}
.mark{white-space:nowrap;font-size:12px}.mark.good{color:var(--good)}.mark.bad{color:var(--bad);font-weight:650}
.mark.none{color:var(--muted)}
.legend{font-size:12.5px;color:var(--muted);margin:0 0 6px}
.entry{white-space:nowrap;margin-right:14px}
.key{display:inline-block;width:10px;height:10px;margin-right:6px;vertical-align:-1px;border-radius:2px}
.key.t{background:var(--t)}.key.s{border:2px solid var(--s);border-radius:50%}
.key.u{background:var(--u);border-radius:50%}
.chart{display:block;width:100%;height:auto;max-width:400px}
.small .chart{max-width:240px}
.chart text{font-size:10.5px;fill:var(--muted);font-variant-numeric:tabular-nums}
.chart .axis{fill:var(--ink);font-size:11px}
.plot{fill:none;stroke:var(--line)}.grid{stroke:var(--line);stroke-width:.6}
.axis-line{stroke:var(--line);stroke-width:1}
line.t{stroke:var(--t);stroke-width:2}
.dots.s circle{fill:none;stroke:var(--s);stroke-width:1.5}.dots.u circle{fill:var(--u)}
.dots path{fill:none;stroke-width:1.2;stroke:var(--s)}.dots.u path{stroke:var(--u)}
.bar.t{fill:var(--t)}.bar.s{fill:none;stroke:var(--s);stroke-width:1.3}.bar.u{fill:var(--u)}
.line.t{fill:none;stroke:var(--t);stroke-width:5;stroke-linejoin:round;opacity:.75}
.joined.s circle{fill:var(--bg)}
.step{fill:none;stroke-width:1.6;stroke-linejoin:round}.step.t{fill:var(--area);stroke:none}
.step.s{stroke:var(--s)}.step.u{stroke:var(--u);stroke-dasharray:5 2}
.small .bar.s{fill:var(--s);stroke:none}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:top;
overflow-wrap:anywhere;max-width:22em}
th{font-weight:600;color:var(--muted)}
tr.hit td,tr.hit th{color:var(--ink);font-weight:600}
.passed{color:var(--good)}.failed{color:var(--bad);font-weight:650}.skipped,.noted{color:var(--muted)}
details{margin-top:36px;font-size:13px}
summary{cursor:pointer;color:var(--muted)}
pre{background:var(--panel);border-radius:6px;padding:12px 14px;white-space:pre-wrap;overflow-wrap:anywhere;
font:12px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media (max-width:760px){main{padding:14px 14px 40px}.columns{grid-template-columns:1fr}
.cards{grid-template-columns:1fr}}
@media print{:root{--bg:#fff;--panel:#f6f7f8;--ink:#000;--muted:#444;--line:#bbb;--t:#999;--area:#d5d9de;--s:#cc4e0a;
--u:#0f62ae;--bad:#b3261e;--badbg:#fff;--warn:#8a5a00;--warnbg:#fff;--good:#1b6e3c;--goodbg:#fff;--info:#4b3f9e;
--infobg:#fff;--none:#444;--nonebg:#fff}body{font-size:11pt}main{max-width:none;padding:0}details{display:none}
h2{break-after:avoid}*{print-color-adjust:exact}}
"""

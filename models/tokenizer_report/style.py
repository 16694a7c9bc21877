"""Style sheet of the report: light and dark, readable on a phone, without external fonts or scripts."""

STYLE = """
:root{color-scheme:light dark;--page:#fbfaf8;--card:#fff;--ink:#1c1b19;--soft:#6b6862;--line:#e4e1db;--grid:#efece6;
--fill:#3a72b8;--pale:#cfdff2;--s0:#12395f;--s1:#3a72b8;--s2:#7fa8d9;--s3:#a58b4f;--s4:#7a6a9c;--limit:#b4432f;
--good:#2f7a4d;--chip:#eef2f7}
@media(prefers-color-scheme:dark){:root{--page:#171614;--card:#1f1e1b;--ink:#ebe8e2;--soft:#a09b92;--line:#34322e;
--grid:#2a2825;--fill:#6ba0dd;--pale:#2b4362;--s0:#c6dcf5;--s1:#6ba0dd;--s2:#4374ab;--s3:#c9ad6c;--s4:#a795cc;
--limit:#e5816c;--good:#74c394;--chip:#2a2d33}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1080px;margin:0 auto;padding:36px 20px 80px}
header p,.lead,.note{color:var(--soft)}.note{font-size:14px;margin:8px 0 0}
h1{font-size:26px;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:19px;margin:52px 0 4px;letter-spacing:-.01em}h3{font-size:14px;margin:0 0 6px;font-weight:600}
p{margin:0 0 12px;max-width:72ch}code,.sid{font:13px/1.4 ui-monospace,SFMono-Regular,Menlo,monospace}
nav{font-size:13px;margin:14px 0 22px;display:flex;flex-wrap:wrap;gap:4px 18px}nav a{color:var(--fill)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(148px,1fr));gap:10px}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px}
.tile b{display:block;font-size:23px;font-weight:600;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px;line-height:1.35;display:block}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:12px;margin:12px 0;align-items:start}
.wide{grid-column:1/-1}svg{display:block;width:100%;height:auto;max-width:460px}
svg text{font:11px system-ui,sans-serif;fill:var(--ink)}svg .tick{fill:var(--soft)}svg .value{font-size:11px}
.grid{stroke:var(--grid)}.axis{stroke:var(--line)}.fill{fill:var(--fill)}.fill.soft{fill:var(--pale);stroke:var(--fill)}
.whisker{stroke:var(--soft);stroke-width:1.5}.median{stroke:var(--card);stroke-width:2}
.leader{stroke-width:1;fill:none;stroke-dasharray:none}.leader.muted{stroke:var(--soft)}
.leader.s0{stroke:var(--s0)}.leader.s1{stroke:var(--s1)}.leader.s2{stroke:var(--s2)}.leader.s3{stroke:var(--s3)}
.leader.s4{stroke:var(--s4)}
.limit{stroke:var(--limit);stroke-dasharray:4 3;fill:none}.line{fill:none;stroke-width:2;stroke-linejoin:round}
.line.s0{stroke:var(--s0)}.line.s1{stroke:var(--s1)}.line.s2{stroke:var(--s2)}.line.s3{stroke:var(--s3)}
.line.s4{stroke:var(--s4)}.line.muted{stroke:var(--soft);stroke-dasharray:2 3}
.dot.s0{fill:var(--s0)}.dot.s1{fill:var(--s1)}.dot.s2{fill:var(--s2)}.dot.s3{fill:var(--s3)}.dot.s4{fill:var(--s4)}
.dot.muted{fill:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:14px}th{font-weight:500;color:var(--soft);text-align:left}
th,td{padding:5px 10px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}td.n,th.n{text-align:right;
font-variant-numeric:tabular-nums;white-space:nowrap}th.n{white-space:normal;min-width:64px}
td:first-child{min-width:76px}tr:last-child td{border-bottom:0}.scroll{overflow-x:auto}
.chip{background:var(--chip);border-radius:4px;padding:1px 6px;font:12.5px ui-monospace,Menlo,monospace;
white-space:nowrap}
details{border-top:1px solid var(--line)}details details{margin-left:22px}details:last-child{border-bottom:0}
summary{cursor:pointer;padding:5px 2px;display:grid;grid-template-columns:10px minmax(58px,auto) 96px 1fr;
gap:10px;align-items:center;list-style:none}summary>.chip{justify-self:start}summary::-webkit-details-marker{display:none}
summary::before{content:"+";color:var(--soft);width:10px;font-family:ui-monospace,monospace}
details[open]>summary::before{content:"–"}
summary:focus-visible{outline:2px solid var(--fill);border-radius:4px}
.about{color:var(--soft);overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.share{display:flex;align-items:center;gap:6px;font-variant-numeric:tabular-nums;font-size:13px}
.share i,.left i{display:block;height:8px;background:var(--fill);border-radius:2px;min-width:1px}
.share i{background:var(--pale);border-right:2px solid var(--fill)}
ul.items{margin:2px 0 10px 44px;padding:0;list-style:none;font-size:14px}ul.items li{padding:1px 0}
.more{color:var(--soft);font-size:13px;margin:4px 0 8px 22px}
.left{display:grid;grid-template-columns:110px auto;gap:8px;align-items:center}
.left span{display:block;background:var(--pale);border-radius:2px;height:8px}
.alarm{color:var(--limit);font-weight:600}.good{color:var(--good)}.bad{color:var(--limit)}
footer{margin-top:56px;color:var(--soft);font-size:13px}
@media(max-width:640px){table.compared{font-size:13px}table.compared th,table.compared td{padding-right:6px}
table.compared th.n{overflow-wrap:anywhere;min-width:48px}table.compared tr>:last-child{padding-right:0}
summary{grid-template-columns:10px auto 70px}.about{grid-column:2/-1;white-space:normal}
details details{margin-left:10px}ul.items{margin-left:20px}}
@media print{details{break-inside:avoid}}
"""

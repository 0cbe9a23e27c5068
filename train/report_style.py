"""The report's style sheet: one column, the system's fonts, light and dark."""

CSS = """
:root{color-scheme:light dark;--ink:#1d2733;--muted:#667080;--line:#dfe3e8;--ground:#fff;--soft:#f5f7f9;
--blue:#0072b2;--red:#b84e00;--font:system-ui,-apple-system,"Segoe UI","Noto Sans","PingFang SC",
"Microsoft YaHei","Noto Sans CJK SC","WenQuanYi Zen Hei",sans-serif}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaef;--muted:#9aa5b3;--line:#313b47;--ground:#12171d;
--soft:#1b222a;--blue:#4db3e6;--red:#ff9a4d}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 var(--font)}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:1.35rem;margin:0 0 .75rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:0 0 .25rem}
section{margin-top:3rem}
section>p,.lead p{color:var(--muted);margin:0 0 1rem}
.badge{display:inline-block;margin:0 0 .5rem;padding:.15rem .7rem;border-radius:1rem;font-size:.85rem;
border:1px solid var(--red);color:var(--red)}
.lead{display:flex;flex-wrap:wrap;align-items:baseline;gap:0 1rem}
.lead .big{font-size:4rem;font-weight:700;line-height:1.15;color:var(--blue);margin:0;letter-spacing:-.03em}
.big small{font-size:.5em;margin-left:.1em}
dl{display:flex;flex-wrap:wrap;gap:.5rem 2.5rem;margin:.25rem 0 0}
dt{font-size:.8rem;color:var(--muted)}
dd{margin:0;font-size:1.1rem;font-variant-numeric:tabular-nums}
figure{margin:0;overflow-x:auto}
figure>svg{display:block;width:100%;height:auto}
.scroll{overflow-x:auto}
.scroll+figure{margin-top:1.5rem}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
td,th{text-align:left;padding:.3rem 1.75rem .3rem 0;border-bottom:1px solid var(--line);
max-width:min(24rem,60vw);overflow-wrap:break-word}
th{font-weight:600;color:var(--muted)}
details{margin-top:1rem}
summary{cursor:pointer;color:var(--blue);font-size:.9rem}
@media(max-width:40rem){figure.wide>svg{min-width:34rem}}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(7.5rem,1fr));gap:1rem}
.tiles img{width:100%;display:block;border-radius:.4rem;background:var(--soft)}
.tiles .pixels{image-rendering:pixelated}
figcaption{font-size:.85rem;line-height:1.35;margin-top:.35rem;overflow-wrap:anywhere}
figcaption span{color:var(--red)}
.commands{list-style:none;margin:0;padding:0}
.commands li{margin:.6rem 0}
.commands code{display:block;background:var(--soft);padding:.5rem .75rem;border-radius:.4rem;
overflow-x:auto;white-space:pre;font-size:.9rem}
.commands span{font-size:.85rem;color:var(--muted)}
.settings{display:grid;grid-template-columns:repeat(auto-fill,minmax(12rem,1fr));gap:0 2rem}
.settings div{display:flex;justify-content:space-between;gap:1rem;padding:.3rem 0;
border-bottom:1px solid var(--line)}
.settings dt,.settings dd{font-size:.85rem;overflow-wrap:anywhere}
@media print{section{break-inside:avoid}}
"""

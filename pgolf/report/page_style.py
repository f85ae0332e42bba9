"""The style sheet of a report: light and dark by the reader's setting, and paper."""

_LIGHT = {
    "paper": "#ffffff", "ink": "#1b1f24", "soft": "#57606a", "line": "#d5dbe1", "panel": "#f5f7f9", "good": "#116329",
    "bad": "#a40e26", "hot": "#e8590c", "cold": "#0b63b0",
    "c1": "#0b63b0", "c2": "#c2410c", "c3": "#0f7b5f", "c4": "#9c3587", "c5": "#8a6100", "c6": "#4f46e5",
    "c7": "#be185d", "c8": "#5b6570",
}  # fmt: skip
_DARK = {
    "paper": "#0f1419", "ink": "#e6eaef", "soft": "#9aa5b1", "line": "#2d3640", "panel": "#171e25", "good": "#57d981",
    "bad": "#ff8a80", "hot": "#ff8a3d", "cold": "#6cb6ff",
    "c1": "#6cb6ff", "c2": "#ff9d66", "c3": "#4fd6ae", "c4": "#e59bd3", "c5": "#e3b341", "c6": "#a5a0ff",
    "c7": "#ff8fb8", "c8": "#a7b1bb",
}  # fmt: skip


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


def _series() -> str:
    return "".join(f".c{k}{{--c:var(--c{k})}}" for k in range(1, 9))


def _heat() -> str:
    """Backgrounds of tokens by their loss, in ten steps."""
    return "".join(f".l{k}{{background:color-mix(in srgb,var(--hot) {8 * k}%,transparent)}}" for k in range(1, 10))


STYLE = f"""
:root{{color-scheme:light dark;{_variables(_LIGHT)}}}
@media (prefers-color-scheme:dark){{:root{{{_variables(_DARK)}}}}}
@media print{{:root{{color-scheme:light;{_variables(_LIGHT)}}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%;scroll-behavior:smooth}}
body{{margin:0 auto;max-width:1160px;padding:1.5rem 1rem 4rem;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}}
h1{{font-size:1.5rem;line-height:1.35;font-weight:650;margin:.4rem 0 1.1rem;max-width:54rem;letter-spacing:-.012em}}
h2{{font-size:1.3rem;margin:3rem 0 .4rem;padding-top:1.2rem;border-top:1px solid var(--line);line-height:1.3}}
h3{{font-size:.95rem;margin:0 0 .35rem;font-weight:600}}
p{{margin:.4rem 0 .8rem;max-width:46rem}}
.kicker{{color:var(--soft);font-size:.8rem;letter-spacing:.02em;margin:0}}
h2.run{{font-size:1.6rem;margin-top:4rem;border-top:3px solid var(--ink)}}
.soft,figcaption,.note{{color:var(--soft);font-size:.85rem;line-height:1.45}}
figcaption{{margin-top:.3rem}}
.cards{{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.6rem,1fr));gap:.6rem;margin:1rem 0}}
.card{{background:var(--panel);border:1px solid var(--line);border-radius:.6rem;padding:.6rem .75rem}}
.card dt{{color:var(--soft);font-size:.78rem}}
.card dd{{margin:.1rem 0 0;font-size:1rem;font-weight:600;line-height:1.3}}
.card dd b{{font-weight:inherit;white-space:nowrap}}
.card dd small{{display:block;font-weight:400;font-size:.78rem;color:var(--soft)}}
nav{{font-size:.88rem;display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:1rem 0 0}}
a{{color:var(--cold)}}
.charts{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));gap:1.8rem 1.6rem;
margin:1rem 0;align-items:start}}
@media (min-width:44rem){{.charts.wide{{grid-template-columns:repeat(2,minmax(0,1fr))}}}}
figure{{margin:0;max-width:34rem;min-width:0}}
svg{{display:block;width:100%;height:auto;overflow:visible}}
svg text{{font-size:11px;fill:var(--soft);font-family:inherit}}
svg text.name{{fill:var(--ink)}}
svg text.strong{{fill:var(--ink);font-weight:600}}
.grid{{stroke:var(--line);stroke-width:.7}}
{_series()}
.line{{fill:none;stroke:var(--c);stroke-width:1.6;stroke-linejoin:round}}
.thin{{stroke-width:.8;opacity:.55}}
.band{{fill:var(--c);opacity:.16}}
.mark{{fill:var(--c)}}
.open{{fill:var(--paper);stroke:var(--c);stroke-width:1.5}}
.whisker{{stroke:var(--c);stroke-width:1.4}}
.share{{fill:var(--c8);opacity:.2}}
.bar{{fill:var(--c)}}
.hollow{{fill:none;stroke:var(--c);stroke-width:1.2;stroke-dasharray:3 2}}
.limit{{stroke:var(--bad);stroke-width:1.4;stroke-dasharray:5 3}}
.gap{{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}}
svg text.bad{{fill:var(--bad)}}
.key{{display:inline-block;width:.8em;height:.8em;border-radius:.2em;background:var(--c);margin-right:.4em}}
.key.ring{{background:none;border:1.5px dashed var(--c)}}
.legend{{list-style:none;margin:0 0 .3rem;padding:0;display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.8rem;
color:var(--soft)}}
.scroll{{overflow-x:auto;margin:.6rem 0 .4rem;border:1px solid var(--line);border-radius:.5rem;max-width:100%}}
.scroll:focus-visible{{outline:2px solid var(--cold)}}
table{{border-collapse:collapse;font-size:.86rem;width:100%;overflow-wrap:normal}}
.table{{min-width:0}}
.table .note{{margin:0 0 1.2rem}}
th,td{{padding:.35rem .7rem;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line)}}
tbody tr:last-child>*{{border-bottom:0}}
thead th{{background:var(--panel);font-weight:600;vertical-align:bottom;white-space:normal;min-width:4.5rem}}
tbody th{{font-weight:500}}
.num{{text-align:right;font-variant-numeric:tabular-nums}}
.wrap{{white-space:normal;min-width:14rem}}
tr.sum>*{{font-weight:600;background:var(--panel)}}
.yes{{color:var(--good)}}
.no{{color:var(--bad);font-weight:600}}
.text{{font:15px/1.9 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--panel);
border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1rem;margin:.6rem 0;white-space:pre-wrap;
unicode-bidi:isolate}}
.text i{{font-style:normal;border-radius:.2em;padding:.12em 0}}
.text b{{font-weight:400;color:var(--soft);font-size:.8em;border:1px solid var(--line);border-radius:.3em;
padding:0 .3em}}
.scale i{{display:inline-block;width:1.4em;height:.9em;vertical-align:-.1em}}
{_heat()}
pre{{background:var(--panel);border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1rem;font-size:.84rem;
overflow-x:auto;white-space:pre-wrap}}
details{{margin:.5rem 0}}
summary{{cursor:pointer;color:var(--soft);font-size:.85rem}}
.missing{{border-left:3px solid var(--hot);padding:.1rem .8rem;margin:.6rem 0}}
@media print{{
body{{font-size:10.5pt;max-width:none;padding:0}}
nav{{display:none}}
h2{{break-after:avoid;margin-top:1.4rem}}
figure,tr,.card,.text{{break-inside:avoid}}
.scroll{{overflow:visible;border:0}}
table{{font-size:7.5pt}}
th,td{{padding:.2rem .35rem;white-space:normal}}
.charts,.charts.wide{{grid-template-columns:1fr 1fr}}
details:not([open]){{display:none}}
*{{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
}}
"""

"""Colours and type, for the page and for charts that stand alone.

Marks have a contrast of 3 or more with the background, text of 4.5 or more, in both schemes (WCAG
2.2); series differ by shape too. ``tests/test_report.py`` computes it.
"""

from __future__ import annotations

SURFACE = ("#ffffff", "#16181d")
INK = ("#1b1d22", "#eceef2")
MUTED = ("#5a5f6b", "#a4abb8")
RULE = ("#d8dbe2", "#343842")
PANEL = ("#f5f6f8", "#1e2128")
LINK = ("#1a5fb4", "#8ab4f8")
GAIN = ("#1a7f52", "#4cc38a")
LOSS = ("#c2410c", "#f08a5d")
SERIES = (
    ("#1f6fd0", "#6aa6f8"),
    ("#c2410c", "#f08a5d"),
    ("#1a7f52", "#4cc38a"),
    ("#9333a8", "#d78be8"),
    ("#8a6a00", "#d9b340"),
    ("#c01f5a", "#f47fa8"),
    ("#0e7c86", "#45c4cf"),
    ("#5a5f6b", "#a4abb8"),
)
"""(light, dark) of each series; the eighth and all later ones share the last."""

FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"


def _variables(scheme: int) -> str:
    named = {
        "surface": SURFACE, "ink": INK, "muted": MUTED, "rule": RULE, "panel": PANEL, "link": LINK,
        "gain": GAIN, "loss": LOSS, **{f"s{i}": pair for i, pair in enumerate(SERIES)},
    }  # fmt: skip
    return "".join(f"--{name}:{pair[scheme]};" for name, pair in named.items())


COLOURS = (
    f":root{{color-scheme:light dark;{_variables(0)}}}\n"
    f"@media(prefers-color-scheme:dark){{:root{{{_variables(1)}}}}}\n"
)

CHART = (
    f"svg.chart{{font:12px {FONT};display:block;width:100%;height:auto}}\n"
    "svg.chart text{fill:var(--muted)}svg.chart .strong{fill:var(--ink);font-weight:600}\n"
    "svg.chart .label{fill:currentColor;paint-order:stroke;stroke:var(--surface);"
    "stroke-width:3px;stroke-linejoin:round}svg.chart .ink{font-weight:600}\n"
    "svg.chart .back{fill:var(--surface)}svg.chart .grid{stroke:var(--rule)}\n"
    "svg.chart .axis{stroke:var(--muted)}svg.chart .mark{stroke:currentColor;stroke-width:1.8}\n"
    "svg.chart .over{fill:currentColor}svg.chart .under{fill:var(--surface)}\n"
    "svg.chart .front{stroke:var(--ink);stroke-width:1.2;fill:none;opacity:.55}\n"
    "svg.chart .base{stroke:var(--muted);stroke-dasharray:4 4}\n"
    "svg.chart .gain{fill:var(--gain)}svg.chart .loss{fill:var(--loss)}\n"
    + "".join(f"svg.chart .s{i}{{color:var(--s{i})}}" for i in range(len(SERIES)))
    + "\n"
)

PAGE = (
    f"body{{margin:0;background:var(--surface);color:var(--ink);font:16px/1.55 {FONT}}}\n"
    "main{max-width:1240px;margin:0 auto;padding:16px}\n"
    "h1{font-size:1.6rem;line-height:1.25;margin:.6em 0 .4em}\n"
    "h2{font-size:1.2rem;margin:2.2em 0 .5em;padding-top:.7em;border-top:1px solid var(--rule)}\n"
    "h3{font-size:1rem;margin:1.4em 0 .3em}p,ul{max-width:46em}a{color:var(--link)}\n"
    ".note,figcaption,caption{color:var(--muted);font-size:.875rem}\n"
    ".grid{display:grid;gap:20px;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr))}\n"
    "figure{margin:0;min-width:0}figcaption{margin-top:4px;overflow-wrap:anywhere}\n"
    "figcaption b{color:var(--ink)}figure svg.chart{max-width:440px}\n"
    ".small{grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr))}\n"
    # A shadow stands at the side at which there is more to see, also where scroll bars hide.
    ".scroll{overflow-x:auto;border:1px solid var(--rule);border-radius:8px;margin:.8em 0;"
    "background:linear-gradient(90deg,var(--surface) 30%,transparent) 0/40px 100% local,"
    "linear-gradient(270deg,var(--surface) 30%,transparent) 100%/40px 100% local,"
    "linear-gradient(90deg,var(--muted),transparent) 0/10px 100%,"
    "linear-gradient(270deg,var(--muted),transparent) 100%/10px 100%;background-repeat:no-repeat;"
    "scrollbar-width:thin}\n"
    ".scroll:focus-visible{outline:2px solid var(--link);outline-offset:2px}\n"
    "table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;"
    "min-width:100%}\n"
    "caption{text-align:left;padding:8px 12px;position:sticky;left:0}\n"
    "th,td{padding:6px 8px;text-align:right;white-space:nowrap;border-top:1px solid var(--rule)}\n"
    "thead th{background:var(--panel);color:var(--muted);font-weight:600;vertical-align:bottom;"
    "white-space:normal}td.text{white-space:normal;min-width:9em}\n"
    "th:first-child,.text{text-align:left}tbody th{font-weight:600;background:var(--surface);"
    "position:sticky;left:0}\n"
    "@media(max-width:640px){tbody th{min-width:6rem;max-width:8rem;white-space:normal;"
    "overflow-wrap:break-word}}\n"
    "tr.base th,tr.base td{background:var(--panel)}\n"
    "summary{cursor:pointer;padding:4px 0}.up{color:var(--gain)}.down{color:var(--loss)}\n"
    ".facts{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));"
    "padding:0;margin:1em 0;max-width:none;list-style:none}\n"
    ".facts li{background:var(--panel);border-radius:8px;padding:10px 12px}\n"
    ".facts b{display:block;font-size:1.25rem}.facts span{color:var(--muted);font-size:.875rem}\n"
    ".warn{border-left:4px solid var(--loss);padding:.1em 0 .1em 12px}\n"
    "code{font-size:.9em;overflow-wrap:anywhere}\n"
    "@media print{.scroll{overflow:visible}}\n"
)

BOX = ".splade-bridge"
"""What stands in a page of others lies in an element of this class, and styles no other."""
_LIGHT = ('[data-jp-theme-light="true"]', ".vscode-light", "html[theme=light]")
_DARK = ('[data-jp-theme-light="false"]', ".vscode-dark", "html[theme=dark]")
"""How JupyterLab, VS Code and Colab say that their theme is light or dark."""


def _below(themes: tuple[str, ...], scheme: int) -> str:
    """The colours of a scheme for boxes in pages that say that they have it."""
    name = ("light", "dark")[scheme]
    boxes = ",".join(f"{theme} {BOX}" for theme in themes)
    return f"{boxes}{{color-scheme:{name};{_variables(scheme)}}}\n"


NOTEBOOK = (
    # A notebook's theme decides, where it says one; else the system's. Ground and ink go together.
    COLOURS.replace(":root", BOX)
    + _below(_LIGHT, 0)
    + _below(_DARK, 1)
    + CHART.replace("svg.chart", f"{BOX} svg.chart")
    + f"{BOX}{{background:var(--surface);color:var(--ink);font:14px/1.5 {FONT};padding:8px 12px;"
    "border:1px solid var(--rule);border-radius:8px;max-width:1080px;overflow-x:auto}\n"
    + "".join(
        f"{BOX} {rule}\n"
        for rule in (
            "p,X ul{margin:.4em 0}",
            ".note,X caption,X figcaption{color:var(--muted);font-size:.9em}",
            ".warn{border-left:4px solid var(--loss);padding:.1em 0 .1em 12px}",
            "caption{text-align:left;padding:2px 8px}",
            "table{border-collapse:collapse;font-size:1em;margin:.3em 0;border:0;"
            "font-variant-numeric:tabular-nums}",
            # Notebooks stripe rows in their own colours.
            "table tr,X table tr:hover{background:none!important}",
            "th,X td{padding:3px 8px;text-align:right;vertical-align:top;color:var(--ink);"
            "border:0;border-top:1px solid var(--rule);white-space:nowrap;max-width:none}",
            "thead th{color:var(--muted);font-weight:600;border-top:0;white-space:normal}",
            "th:first-child,X .text{text-align:left}",
            ".text{white-space:normal;min-width:9em;overflow-wrap:anywhere}",
            "tbody th{font-weight:600}",
            "tr.base th,X tr.base td{background:var(--panel)}",
            "td.share{min-width:120px}",
            ".bar{display:block;height:9px;margin-top:6px;min-width:1px;border-radius:2px;"
            "background:var(--s0)}",
            ".bar.expansion{background:none;box-sizing:border-box;border:2px solid var(--s3)}",
            ".grid{display:grid;gap:16px;"
            "grid-template-columns:repeat(auto-fill,minmax(min(100%,320px),1fr))}",
            "figure{margin:0;min-width:0}",
            "figcaption{overflow-wrap:anywhere}",
            ".up{color:var(--gain)}",
            ".down{color:var(--loss)}",
        )
    ).replace("X ", f"{BOX} ")
)
"""For an element of class ``splade-bridge`` in a page that others have styled."""

"""The bare HTML page: one self-contained file, no address outside it, no script."""

import base64
import struct
from collections.abc import Iterable, Sequence
from html import escape
from string import Template

from eventsam.report.canvas import DPI

_CSS = """
:root { --ink: #1f2933; --muted: #62707d; --line: #e3e8ec; --paper: #fff; --ground: #f5f7f9; --accent: #d55e00; }
* { box-sizing: border-box; }
html { color-scheme: light; background: var(--ground); }
body { margin: 0 auto; max-width: 1120px; padding: 44px 28px 64px; color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -.015em; margin: 0 0 6px; }
h2 { font-size: 19px; letter-spacing: -.005em; margin: 44px 0 14px; }
h3 { font-size: 15px; margin: 0 0 12px; }
h3 .tag { font-weight: 400; color: var(--muted); margin-left: 8px; }
p { margin: 0 0 10px; }
.subtitle { color: var(--muted); font-size: 16px; max-width: 880px; margin: 0; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 12px; padding: 20px 22px;
  margin: 0 0 16px; overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 16px; margin: 26px 0 16px; }
.tile { background: var(--paper); border: 1px solid var(--line); border-top: 4px solid var(--colour, var(--muted));
  border-radius: 12px; padding: 14px 18px 15px; }
.tile b { display: block; font-size: 30px; line-height: 1.25; font-weight: 650; letter-spacing: -.02em; }
.tile span { display: block; color: var(--muted); font-size: 13px; line-height: 1.4; }
.tile .name { color: var(--ink); }
.notes, .notes details div { display: grid; grid-template-columns: 130px 1fr; gap: 18px 24px; }
.notes h3 { margin: 0; }
.notes ul { margin: 0; padding: 0; list-style: none; }
.notes li { padding: 0 0 6px; }
.notes li:last-child { padding: 0; }
.notes .whole, .notes details { grid-column: 1 / -1; margin: 0; }
figure { margin: 0; }
figcaption { color: var(--muted); font-size: 13px; margin-top: 8px; }
img { display: block; max-width: 100%; height: auto; }
img.pixelated { image-rendering: pixelated; }
.wide img { margin: 0 auto; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 16px; align-items: start; }
.columns .card { margin: 0; }
.columns + details, .card + details { margin-top: 16px; }
.strip { display: grid; gap: 10px; margin-bottom: 12px; }
.strip:last-child { margin-bottom: 0; }
.frames { grid-template-columns: repeat(4, 1fr); }
.shapes { grid-template-columns: repeat(7, 1fr); }
.attention { grid-template-columns: repeat(auto-fit, minmax(110px, 1fr)); max-width: 760px; }
.strip img { width: 100%; border-radius: 6px; }
.strip figcaption { margin-top: 5px; font-size: 12.5px; line-height: 1.3; text-align: center; }
.shapes figcaption b { display: block; color: var(--ink); font-variant-numeric: tabular-nums; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 7px;
  background: var(--colour); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
caption { text-align: left; font-weight: 650; padding-bottom: 6px; }
caption span { font-weight: 400; color: var(--muted); margin-left: 8px; }
th { font-weight: 600; color: var(--muted); font-size: 13px; }
th, td { text-align: right; padding: 6px 0 6px 18px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr:last-child td { border-bottom: 0; }
td small { display: block; color: var(--muted); font-size: 11.5px; font-weight: 400; line-height: 1.2; }
tr.ours td { font-weight: 650; }
.bar { display: inline-block; height: 10px; border-radius: 3px; background: #3d5a80; vertical-align: baseline; }
tr.times td:nth-child(2) { width: 60%; text-align: left; }
tr.facts td:nth-child(2) { width: 80%; text-align: left; white-space: normal; }
pre, code { font: 13px/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; }
pre { margin: 0; white-space: pre-wrap; }
td code { white-space: normal; }
details summary { cursor: pointer; color: var(--muted); }
details[open] summary { margin-bottom: 14px; }
@media (max-width: 700px) {
  body { padding: 28px 14px 40px; }
  .frames { grid-template-columns: repeat(2, 1fr); }
  .shapes { grid-template-columns: repeat(3, 1fr); }
  .notes, .notes details div { grid-template-columns: 1fr; gap: 8px; }
  .columns { grid-template-columns: 1fr; }
}
@media print { html, body { background: #fff; } .card, .tile { break-inside: avoid; } }
"""

# The policy makes the browser itself refuse anything that is not in this file.
_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>$css</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="subtitle">$subtitle</p>
</header>
$body
</body>
</html>
"""
)


def page(title: str, subtitle: str, sections: Iterable[str]) -> str:
    """Return the whole page around ready-made HTML sections; title and subtitle are plain text."""
    return _PAGE.substitute(title=escape(title), subtitle=escape(subtitle), css=_CSS, body="\n".join(sections))


def section(heading: str, *cards: str) -> str:
    """Return a heading over HTML blocks, empty if all of them are."""
    held = [card for card in cards if card]
    return f"<section>\n<h2>{escape(heading)}</h2>\n" + "\n".join(held) + "\n</section>" if held else ""


def card(html: str, kind: str = "") -> str:
    """Return a framed block, empty for empty content."""
    return f'<div class="card {kind}">{html}</div>' if html else ""


def picture(png_bytes: bytes, alternative: str, *, scale: float = 96 / DPI, pixelated: bool = False) -> str:
    """Return an inlined PNG shown at `scale` CSS pixels per pixel, with the text for those who cannot see it."""
    width, height = struct.unpack(">II", png_bytes[16:24])
    encoded = base64.b64encode(png_bytes).decode("ascii")
    kind = ' class="pixelated"' if pixelated else ""
    size = f'width="{round(width * scale)}" height="{round(height * scale)}"'
    return f'<img{kind} {size} alt="{escape(alternative)}" src="data:image/png;base64,{encoded}">'


def folded(summary: str, html: str, *, opened: bool = False) -> str:
    """Return content that opens on a click on its plain-text summary, empty for empty content."""
    state = " open" if opened else ""
    return f"<details{state}><summary>{escape(summary)}</summary>{html}</details>" if html else ""


def captioned(image_html: str, caption_html: str) -> str:
    """Return a figure with a caption below it."""
    return f"<figure>{image_html}<figcaption>{caption_html}</figcaption></figure>"


def table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], caption_html: str = "") -> str:
    """Return a table: `head` plain text, `rows` of (class, HTML cells)."""
    caption = f"<caption>{caption_html}</caption>" if caption_html else ""
    header = f"<thead><tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr></thead>" if head else ""
    lines = "".join(f'<tr class="{kind}">{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for kind, cells in rows)
    return f"<table>{caption}{header}<tbody>{lines}</tbody></table>"

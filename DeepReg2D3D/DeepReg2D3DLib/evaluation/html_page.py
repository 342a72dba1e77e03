"""A report as one HTML file that stands alone: text, tables and pictures inside it, ready to be printed.

Nothing is fetched and no script runs, so that the file can be mailed, archived and opened anywhere.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

RESEARCH_NOTICE = "Research software, not a medical device. It can be wrong without knowing: verify each result by eye."
_KEPT_ROWS = 16
"""Tables with no more rows than these are printed on one page."""
_STYLE = """
:root { --ink: #1d2228; --dim: #5b6570; --line: #d5dae0; --paper: #ffffff; --alarm: #a3261b; --good: #1c6b3f; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1060px; padding: 28px 24px 60px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 34px 0 8px; border-bottom: 1px solid var(--line); }
h3 { font-size: 15px; margin: 18px 0 4px; }
p { margin: 6px 0; } .dim, figcaption { color: var(--dim); font-size: 13px; }
.notice { border: 1px solid var(--alarm); color: var(--alarm); padding: 6px 10px; margin: 12px 0; font-weight: 600; }
.alarm { color: var(--alarm); font-weight: 600; } .good { color: var(--good); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 8px 0; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: 3px 10px 3px 0; text-align: left; vertical-align: top; }
.tight td { white-space: nowrap; } .tight th, .tight td { font-size: 12px; padding-right: 8px; }
th { font-weight: 600; } td.number, th.number { text-align: right; }
figure { margin: 8px 0; } figure img { max-width: 100%; height: auto; display: block; }
section > figure img { max-width: 720px; }
.row { display: flex; flex-wrap: wrap; gap: 12px; } .row figure { flex: 1 1 300px; max-width: 520px; }
.row figure img { width: 100%; } .row.small figure { flex: 0 1 240px; }
pre { font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; margin: 4px 0; overflow-x: auto; }
footer { margin-top: 40px; border-top: 1px solid var(--line); padding-top: 8px; color: var(--dim); font-size: 12.5px; }
@media print {
  body { max-width: none; padding: 0; font-size: 11.5px; } h1 { font-size: 21px; }
  h2 { font-size: 15px; margin-top: 18px; } h3 { font-size: 12.5px; margin-top: 12px; }
  .dim, figcaption { font-size: 10.5px; } table { font-size: 10.5px; } td, th { padding: 2px 8px 2px 0; }
  .tight th, .tight td { font-size: 9.5px; padding-right: 5px; white-space: normal; }
  figure, tr, pre, .notice { break-inside: avoid; } h2, h3, thead { break-after: avoid; }
  .wide { overflow: visible; } .keep { break-inside: avoid; } section > figure img { max-width: 125mm; }
  pre { font-size: 10px; white-space: pre-wrap; }
  /* Figures as words of a line, since rows of flexible boxes do not break over pages in every browser. */
  .row { display: block; } .row figure { display: inline-block; width: 48%; margin-right: 1%; vertical-align: top; }
  .row.small figure { width: 31.5%; } footer { margin-top: 18px; font-size: 10.5px; break-before: avoid; }
  @page { margin: 14mm 12mm 16mm; @bottom-right { content: counter(page) " / " counter(pages); font-size: 9px; } }
}
"""


@dataclass(frozen=True)
class Safe:
    """HTML as it goes into the page; every other text is escaped."""

    html: str


def escaped(value: object) -> str:
    """A value as HTML."""
    return value.html if isinstance(value, Safe) else html.escape(str(value))


def paragraph(text: object, kind: str = "") -> str:
    """A paragraph; kind: '', 'dim', 'notice', 'alarm' or 'good'."""
    return f'<p class="{kind}">{escaped(text)}</p>' if kind else f"<p>{escaped(text)}</p>"


def section(title: str, *parts: str) -> str:
    """A part of the page under its title."""
    return f"<section><h2>{escaped(title)}</h2>{''.join(parts)}</section>"


def subtitle(text: str) -> str:
    """A smaller title."""
    return f"<h3>{escaped(text)}</h3>"


def table(
    head: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int] = (), tight: bool = False
) -> str:
    """A table; numbers: indices of the columns that are aligned to the right; tight: small, a line for each row."""

    def cells(tag: str, values: Sequence[object]) -> str:
        texts = []
        for index, value in enumerate(values):
            kind = ' class="number"' if index in numbers else ""
            texts.append(f"<{tag}{kind}>{escaped(value)}</{tag}>")
        return f"<tr>{''.join(texts)}</tr>"

    kind = ' class="tight"' if tight else ""
    header = f"<thead>{cells('th', head)}</thead>" if any(head) else ""
    body = "".join(cells("td", row) for row in rows)
    wide = "wide keep" if len(rows) <= _KEPT_ROWS else "wide"
    return f'<div class="{wide}"><table{kind}>{header}<tbody>{body}</tbody></table></div>'


def preformatted(text: str) -> str:
    """Text whose columns keep their places."""
    return f"<pre>{escaped(text)}</pre>"


def figure(picture: Path | Image.Image, alternative: str, caption: object = "", photo: bool = False) -> str:
    """A picture inside the page: a file as it is, an image as PNG or, where ``photo``, as JPEG, which is smaller."""
    if isinstance(picture, Image.Image):
        buffer = io.BytesIO()
        if photo:
            picture.convert("RGB").save(buffer, format="JPEG", quality=88, subsampling=0)
        else:
            picture.save(buffer, format="PNG")
        kind, content = "jpeg" if photo else "png", buffer.getvalue()
    else:
        kind, content = picture.suffix.lower().lstrip("."), picture.read_bytes()
    data = base64.b64encode(content).decode("ascii")
    words = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{escaped(alternative)}" src="data:image/{kind};base64,{data}">{words}</figure>'


def figures(items: Sequence[str], small: bool = False) -> str:
    """Figures side by side, as many as fit."""
    return f'<div class="row{" small" if small else ""}">{"".join(items)}</div>'


def page(title: str, under_title: str, parts: Sequence[str], made_by: str) -> str:
    """The whole file. made_by: the last line."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{_STYLE}</style></head>\n<body>"
        f'<header><h1>{escaped(title)}</h1><p class="dim">{escaped(under_title)}</p>'
        f"{paragraph(RESEARCH_NOTICE, 'notice')}</header>\n"
        + "\n".join(parts)
        + f"\n<footer>{escaped(RESEARCH_NOTICE)}<br>{escaped(made_by)}</footer></body></html>\n"
    )

"""The page of `data`: facts, the contact sheet, classes, notes."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from tune_cnn.reports.data_words import facts
from tune_cnn.reports.html.frame import html_page
from tune_cnn.reports.html.sections import notes_section, section, table
from tune_cnn.untyped import Plain

PARTS = ("train", "validation", "test")


def data_page(document: Mapping[str, Plain], strips_png: Sequence[bytes]) -> str:
    """One HTML file that holds all images in itself; `strips_png`: of the first classes."""
    name = str(document["data"])
    body = [f"<header>\n<h1>{escape(name)}</h1>\n<p>{escape(str(document['root']))}</p>\n</header>"]
    if document["refused"]:
        body.append(section("A search would refuse these images", "", f"<p>{escape(str(document['refused']))}</p>"))
    rows = [f"<tr><th>{escape(what)}</th><td>{escape(seen)}</td></tr>" for what, seen in facts(document)]
    body.append(section("What was understood", "", table([], rows)))
    advice = "".join(f"<li>{escape(one)}</li>" for one in document["imbalance"]["advice"])
    advice = f"<ul>{advice}</ul>" if advice else ""
    if document["imbalance"]["spec"]:
        advice += f"<p>In your spec:</p><pre>{escape(document['imbalance']['spec'])}</pre>"
    body += [section("What to do", "", advice)] if advice else []
    strips = "".join(map(_strip, document["classes"], strips_png))
    left = len(document["classes"]) - len(strips_png)
    note = "Training images as training sees them, evenly chosen" + (f"; {left} more classes" if left else "") + "."
    body.append(section("Contact sheet", note, f'<div class="sheet"><table><tbody>{strips}</tbody></table></div>'))
    counts = [
        "<tr><td>"
        + escape(str(one["name"]))
        + "</td>"
        + "".join(f'<td class="num">{one[p]:,}</td>' for p in PARTS)
        + "</tr>"
        for one in document["classes"]
    ]
    body += [section("Classes", "", table(["class", *PARTS], counts, numeric=3)), notes_section(document["notes"])]
    return html_page(f"{name} – tune_cnn", "\n".join(body), figures=False)


def _strip(of: Mapping[str, Plain], png: bytes) -> str:
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return f'<tr><td>{escape(str(of["name"]))}</td><td><img alt="" src="{source}"></td></tr>'

"""What every page is made of: one HTML file that holds all it needs and asks nothing of the network."""

from html import escape
from importlib.resources import files

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

# Should a text of the user's ever slip through the escaping, it still can't reach the network. `unsafe-eval` is for
# plotly.js' parallel coordinates, which compile their shaders' bindings.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'none'; base-uri 'none'; form-action 'none'"
)

_DRAWING = """<noscript><p class="note">The figures need JavaScript, which this page carries itself.</p></noscript>
<script>{plotly}</script>
<script>
{script}</script>
"""


def html_figure(name: str, figure: go.Figure) -> str:
    """A figure as the page's script draws it."""
    # No text inside may end the script element or open a comment in it. Plotly 7 writes "<" as an escape by itself,
    # but promises it nowhere
    data = figure.to_json().replace("</", "<\\/").replace("<!--", "\\u003c!--")
    height = int(figure.layout.height)
    return (
        f'<div class="figure" id="figure-{name}" style="height:{height}px"></div>\n'
        f'<script type="application/json" class="figure-data" data-figure="figure-{name}">{data}</script>'
    )


def html_page(title: str, body: str, *, figures: bool = True) -> str:
    """`body` is HTML already; a page without figures does without their script of megabytes."""
    here = files("tune_cnn.reports.html")
    style = here.joinpath("report.css").read_text(encoding="utf-8")
    script = here.joinpath("report.js").read_text(encoding="utf-8")
    drawing = _DRAWING.format(plotly=get_plotlyjs(), script=script) if figures else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
{drawing}</body>
</html>
"""

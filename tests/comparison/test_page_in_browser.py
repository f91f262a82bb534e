"""The page of a comparison, as Chromium reads it and lays it out."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update "
    "disable-sync"
).split()

pytestmark = pytest.mark.skipif(BROWSER is None, reason="neither chromium, chromium-browser nor google-chrome is here")

FEATURES = [
    "<script>", "alert(1)", "</script>", " </span>", " </p>", "<!--", " &amp;", " &lt;", " \"quoted'", "<img src=x>",
    "\n", "שלום", " עולם", "\n", "مرحبا", " بالعالم", " Anna", " \u202eabc\u202c",
    "\n", "👩\u200d👩\u200d👧", " 🇳🇴", " 👍🏽", " e\u0301", " 中文",
    "\n\n", "\tone", "\ttwo  ", "   three", "\r\n", "\x0b\x0c\u00a0\u2028", "\nend\n",
]  # fmt: skip
NAMES = ["HETA", '<b>bold</b> & "it\'s"', "</h2><img src=x onerror=alert(1)>", "Integrated Gradients", "NormXLogit"]

# Put into a copy of the page, which then measures itself at the width of a telephone: Chromium's window is wider.
MEASURE = """<style>html { width: 400px }</style><script>
const box = node => { const at = node.getBoundingClientRect(); return [at.left, at.right, at.top] };
const found = { tables: [], texts: [], printed: [] };
for (const frame of document.querySelectorAll(".wide"))
  found.tables.push([frame.scrollWidth, frame.clientWidth]);
for (const text of document.querySelectorAll("p[dir]")) {
  found.texts.push([box(text.parentNode), [...text.children].map(token => [token.textContent, box(token)])]);
  for (const token of text.children) found.printed.push(getComputedStyle(token).printColorAdjust);
}
document.body.replaceChildren(encodeURIComponent(JSON.stringify(found)));
</script>"""


class Dom(HTMLParser):
    """Tags and text of a serialized document, and those of each shaded prompt apart."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.prompts, self.headings, self.titles = [], [], [], []
        self.inside = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "p" and "dir" in attributes:
            self.inside = self.prompts
            self.prompts.append("")
            self.titles.append([])
        elif tag == "h2":
            self.inside = self.headings
            self.headings.append("")
        elif "title" in attributes and tag == "span":
            self.titles[-1].append([attributes["title"].removeprefix("score "), ""])

    def handle_endtag(self, tag):
        if tag in ("p", "h2"):
            self.inside = None

    def handle_data(self, data):
        if self.inside is not None:
            self.inside[-1] += data
        if self.inside is self.prompts:
            self.titles[-1][-1][1] += data


def opened(page, folder, *options):
    """The document that Chromium makes of the page."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8", newline="")
    flags = [f"--{option}" for option in (*OPTIONS, f"user-data-dir={folder / 'profile'}", *options, "dump-dom")]
    done = subprocess.run([BROWSER, *flags, file.as_uri()], capture_output=True, timeout=120, check=True)
    return done.stdout.decode("utf-8")


@pytest.fixture
def comparison(made):
    scores = [i / 8 - 1.5 for i in range(len(FEATURES))]
    return made(FEATURES, {name: scores[i:] + scores[:i] for i, name in enumerate(NAMES)}, failures=["<i>x</i>"])


def test_a_hostile_prompt_is_text_alone(comparison, tmp_path):
    page = comparison.to_html()
    assert not re.search(r"https?:|url\(|@import", page)
    dom = Dom(opened(page, tmp_path))
    expected = "html head meta title style body h1 h2 small p div section span table tbody tr td th".split()
    assert {tag for tag, _ in dom.tags} == set(expected)
    assert {key for _, attributes in dom.tags for key in attributes} == set(
        "lang charset name content class dir style title scope tabindex role data-sign".split()
    )
    assert dom.prompts == ["".join(FEATURES)] * len(NAMES)
    assert [heading.rsplit(" ", 4)[0] for heading in dom.headings[: len(NAMES)]] == NAMES
    assert dom.headings[len(NAMES)] == "<i>x</i> 9.50 s"
    for titles, row in zip(dom.titles, comparison.matrix("none").tolist(), strict=True):
        assert [text for _, text in titles] == FEATURES
        assert [float(title) for title, _ in titles] == pytest.approx(row, rel=1e-3)


def test_layout_on_a_narrow_screen(comparison, tmp_path):
    page = comparison.to_html().replace("</body>\n</html>", f"{MEASURE}</body>\n</html>")
    body = re.search(r"<body[^>]*>(.*?)</body>", opened(page, tmp_path), re.DOTALL)[1]
    found = json.loads(unquote(body))
    assert len(found["texts"]) == len(NAMES)
    for (left, right, _), tokens in found["texts"]:
        assert 0 < left < right < 400
        assert all(left < start <= end < right for _, (start, end, _) in tokens)
        at = {text: place for text, place in tokens if text.strip()}
        assert at["<script>"][1] <= at["alert(1)"][0]  # from left to right
        assert at[" עולם"][1] <= at["שלום"][0]  # each line as its script is read
        assert at[" Anna"][1] <= at[" بالعالم"][1] <= at["مرحبا"][0]
        assert at["<script>"][2] < at["שלום"][2] < at["مرحبا"][2] < at["\tone"][2] == at["   three"][2]
        assert at["\tone"][1] < at["\ttwo  "][1] < at["   three"][1]
    # nothing of a table is out of sight
    assert len(found["tables"]) == 2
    assert all(width <= seen < 400 for width, seen in found["tables"])
    # white letters keep their dark ground on paper
    assert found["printed"] == ["exact"] * len(FEATURES) * len(NAMES)

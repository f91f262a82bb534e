"""The page, as a person uses it in Chromium."""

import re
import shutil
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="gradio is not here: pip install 'captum-heta[demo]'")
pytest.importorskip("playwright.sync_api", reason="playwright is not here: pip install playwright")

from playwright.sync_api import sync_playwright

from captum_heta.app.page import build, serve
from captum_heta.comparison import Comparison

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update "
    "disable-sync"
).split()
PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="neither chromium, chromium-browser nor google-chrome is here")


@pytest.fixture(scope="module")
def address(explainer, tmp_path_factory):
    page = build(explainer, tmp_path_factory.mktemp("files"), PROMPT, "<b>the model</b>")
    yield serve(page, "127.0.0.1", None, explainer.runs)
    page.close(verbose=False)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=BROWSER, args=[f"--{option}" for option in OPTIONS])
        yield found
        found.close()


@pytest.fixture(scope="module")
def context(browser):
    """One for all tabs, which so have the scripts of the page in their cache; a tab is a session of the page."""
    found = browser.new_context()
    found.set_default_timeout(20_000)
    return found


@pytest.fixture
def opened(context, address):
    """Opens a tab; no tab may complain, or ask another host for anything."""
    tabs, errors, asked = [], [], []

    def open_tab(width=1200, query="", waits="#token label"):
        tab = context.new_page()
        tab.set_viewport_size({"width": width, "height": 900})
        tabs.append(tab)
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(address + query)
        tab.wait_for_selector(waits)
        return tab

    yield open_tab
    for tab in tabs:
        tab.close()
    assert errors == []
    local = [url for url in asked if url.startswith(address)]
    assert len(local) > 5
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


@pytest.fixture
def slow(explainer, until_stopped, monkeypatch):
    """Explanations that go on until they are stopped, as long as ``on``."""
    state = SimpleNamespace(on=True, began=threading.Event(), ended=threading.Event())
    explain = explainer.explain

    def endless(*arguments):
        if not state.on:
            return explain(*arguments)
        until_stopped(state.began, state.ended)
        raise RuntimeError("Nobody stopped it.")

    monkeypatch.setattr(explainer, "explain", endless)
    return state


def text_of(tab, number=0):
    return tab.locator("#results section > .heta-text").nth(number).text_content()


def asks(tab, target):
    """Wait for the explanation of a target."""
    tab.wait_for_selector(f'#results h2:has-text("Why {target!r}")')


def choose(tab, name, option):
    tab.click(f"#{name} input")
    tab.click(f'#{name} [role="option"]:has-text("{option}")')


def told(tab):
    tab.wait_for_selector("#results [role=alert]")
    return tab.locator("#results [role=alert]").text_content()


def test_explains_compares_and_hands_out_files(opened, tmp_path):
    tab = opened()
    assert tab.locator("#token label").count() == 10
    assert "<b>the model</b>" in tab.text_content("#head")
    tab.click("#explain")
    asks(tab, " Oslo")
    assert text_of(tab) == text_of(tab, 1) == PROMPT
    heads = tab.locator("#results h3").all_text_contents()
    assert [head[: head.index(" s, largest")].rsplit(" ", 1)[0] for head in heads] == ["Targeted HETA", "HETA"]
    whole = tab.locator("#results section > .heta-text >> nth=0")
    titles = whole.locator("span[title]").evaluate_all("all => all.map(one => one.title)")
    assert len(titles) > 15
    for title in titles:
        share, flow, curvature, information = title.split("\n")
        assert re.fullmatch(r"share [\d.]+%", share)
        assert flow.rsplit(" ", 1)[0] == "contribution flow"
        assert re.fullmatch(r"curvature [\d.e+-]+( \u00b1 [\d.e+-]+)?", curvature)
        assert re.fullmatch(r"target information ([\d.e+-]+|not looked at: it cannot matter)", information)
    # the three terms, a tap each
    terms = tab.locator("#results section >> nth=0").locator("details")
    assert terms.locator("summary b").all_text_contents() == ["contribution flow", "curvature", "target information"]
    assert not terms.nth(2).locator(".heta-text").is_visible()
    terms.nth(2).locator("summary").click()
    assert terms.nth(2).locator(".heta-text").text_content() == PROMPT
    assert terms.nth(2).locator(".heta-text").is_visible()
    # another target, and another method beside it
    tab.click("#token label >> nth=1")
    tab.wait_for_function("() => document.querySelector('#results h2')?.textContent.includes('Oslo') === false")
    choose(tab, "beside", "NormXLogit")
    tab.click("#explain")
    tab.wait_for_selector('#results h3:has-text("NormXLogit")')
    for kind in ("html", "json"):
        with tab.expect_download() as download:
            tab.click(f"#{kind}")
        download.value.save_as(tmp_path / f"found.{kind}")
        assert download.value.suggested_filename == f"heta-comparison.{kind}"
    found = Comparison.load(tmp_path / "found.json")
    assert found.names == ["Targeted HETA", "NormXLogit"]
    assert found.prompt == PROMPT
    assert (
        found.target.strip() == tab.locator("#token label >> nth=1").text_content().split("\N{OPEN BOX}")[1].split()[0]
    )
    assert (tmp_path / "found.html").read_text(encoding="utf-8") == found.to_html(shares=True)


@pytest.mark.parametrize("width", [390, 1280])
def test_what_is_explained_comes_into_sight(opened, width):
    tab = opened(width)
    top = "() => document.querySelector('#results').getBoundingClientRect().top"
    assert tab.evaluate(top) > 0.6 * 900  # of the window
    tab.click("#step label >> nth=0")
    asks(tab, " Oslo")
    tab.wait_for_function(f"() => ({top})() >= -5 && ({top})() < 0.6 * innerHeight")


def test_one_choice_undoes_the_others(opened):
    tab = opened()
    tab.click("#step label >> nth=1")
    asks(tab, ".")
    assert text_of(tab) == PROMPT + " Oslo"
    assert tab.locator("#step input:checked").count() == 1
    tab.click("#token label >> nth=0")
    asks(tab, " Oslo")
    assert tab.locator("#step input:checked").count() == 0
    assert text_of(tab) == PROMPT
    tab.locator("#typed input, #typed textarea").press_sequentially("Rome")
    tab.keyboard.press("Enter")
    asks(tab, " Rome")
    assert tab.locator("#token input:checked").count() == 0
    # the choices were those after another prompt
    tab.fill("#prompt textarea", "Anna")
    tab.wait_for_selector("#token label", state="detached")


def test_what_an_output_is_compared_with(opened):
    tab = opened()
    tab.locator("#contrast input, #contrast textarea").fill("Rome")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#results h2:has-text(\"and not ' Rome'?\")")
    tab.click("#token label >> nth=1")  # a choice keeps it
    tab.wait_for_function("() => document.querySelector('#results h2')?.textContent.includes('Oslo') === false")
    assert "and not" in tab.text_content("#results h2")
    tab.locator("#contrast input, #contrast textarea").fill("")
    tab.click("#explain")
    tab.wait_for_function("() => document.querySelector('#results h2')?.textContent.includes('and not') === false")


def test_any_text_is_shown_as_it_is(opened):
    tab = opened()
    choose(tab, "method", "NormXLogit")
    assert tab.locator("#curvature").is_visible()  # of HETA beside it
    choose(tab, "beside", "none")
    tab.wait_for_selector("#curvature", state="detached")
    for text in ("🎉🎉👩\u200d👩", "<img src=x onerror=alert(1)> ${1+1} {{value}} </p>"):
        tab.fill("#prompt textarea", text)
        tab.click("#predict")
        tab.wait_for_selector("#token label")
        tab.click("#explain")
        tab.wait_for_function("text => document.querySelector('#results .heta-text')?.textContent === text", arg=text)
        assert tab.locator("#results section").count() == 1
        assert tab.locator("#results img").count() == 0


def test_errors_are_sentences(opened):
    tab = opened(width=400)
    tab.fill("#prompt textarea", "Anna lives in Rome. " * 40)
    tab.click("#explain")
    message = told(tab)
    assert message.startswith("The prompt has ")
    assert "this page takes 100: shorten it, or start the page with --max-tokens" in message
    tab.fill("#prompt textarea", " ")
    tab.click("#predict")
    tab.wait_for_selector('#results [role=alert]:has-text("The prompt is empty")')
    assert not tab.locator("#html").is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") == 400


def test_stop_ends_what_runs_and_what_waits(opened, slow):
    tab, other = opened(), opened()
    tab.click("#explain")
    assert slow.began.wait(20)
    other.click("#explain")  # waits for the first
    other.wait_for_selector('#results [role=status]:has-text("Another run has the model")')
    other.click("#stop")
    assert told(other) == "Stopped."
    tab.click("#stop")
    assert told(tab) == "Stopped."
    assert slow.ended.wait(20)
    # the model is free, and explains as before
    slow.on = False
    for again in (tab, other):
        again.click("#explain")
        asks(again, " Oslo")
    tab.click("#stop")  # nothing runs: the results stay
    tab.wait_for_timeout(300)
    asks(tab, " Oslo")


def test_a_page_that_goes_away_frees_the_model(opened, slow):
    tab = opened()
    tab.click("#explain")
    assert slow.began.wait(20)
    tab.close()
    assert slow.ended.wait(20)
    slow.on = False
    other = opened()
    other.click("#explain")
    asks(other, " Oslo")


def test_outputs_that_are_too_long_are_told(opened):
    tab = opened(width=400)
    tab.locator("#typed input, #typed textarea").fill("Rome " * 51)
    tab.click("#explain")
    assert told(tab) == "The output has 52 tokens, and this page takes 50 of one: shorten it."
    tab.fill("#prompt textarea", "Anna " * 100_000)
    tab.click("#predict")
    message = "The prompt has 500,000 characters, and this page takes 100 tokens of one: shorten it."
    tab.wait_for_selector(f'#results [role=alert]:has-text("{message}")')


def test_two_tabs_at_once_have_their_own_results(opened):
    first, second = opened(), opened()
    for tab, name in ((first, "Ben"), (second, "Anna")):
        tab.fill("#prompt textarea", PROMPT.replace("does Ben", f"does {name}"))
    for tab in (first, second):
        tab.click("#explain")
    asks(first, " Oslo")
    asks(second, " Rome")
    assert "does Ben" in text_of(first)
    assert "does Anna" in text_of(second)


def test_an_example_fills_the_page_and_is_answered(opened):
    tab = opened()
    choose(tab, "example", "Documents")
    tab.wait_for_selector('#step label:has-text("pilot")')
    assert tab.locator("#document-2 textarea").input_value() == "Clara works as a baker. Ben works as a pilot."
    assert not tab.locator("#document-4").is_visible()
    tab.click("#step label >> nth=0")
    asks(tab, " pilot")
    rows = tab.locator("#results table tr").all_text_contents()
    assert [row.strip() for row in rows if "Jobs" in row]
    assert "What is the job of Ben?" in text_of(tab)


def test_a_chat_is_written_answered_and_explained(opened):
    tab = opened()
    tab.get_by_role("tab", name="Chat").click()
    tab.fill("#message-1 textarea", "Anna lives in Rome. Ben lives in Oslo.")
    tab.fill("#message-2 textarea", "Question: Where does Ben live?")
    tab.click("#predict")
    tab.wait_for_selector('#step label:has-text("Oslo")')
    tab.click("#add-message")
    tab.wait_for_selector("#message-3")
    tab.click("#step label >> nth=1")
    asks(tab, ".")
    assert text_of(tab).endswith("Question: Where does Ben live?\nAnswer: Oslo")
    shares = tab.locator("#results table th[scope=row]").all_text_contents()
    assert shares == ["0 system", "1 user", "the answer before"]


def test_a_link_opens_the_page_as_it_is(opened, address):
    tab = opened()
    choose(tab, "example", "Why Oslo, and not Rome?")
    filled = "() => document.querySelector('#contrast input, #contrast textarea').value === 'Rome'"
    tab.wait_for_function(filled)
    tab.click("#link")
    link = tab.get_by_role("link", name="This link").get_attribute("href")
    assert link.startswith(f"{address}?text=")
    again = opened(query=link.removeprefix(address), waits='#token label:has-text("Oslo")')
    assert again.locator("#contrast input, #contrast textarea").input_value() == "Rome"
    assert "Clara works" in again.locator("#prompt textarea").input_value()
    again.click("#explain")
    again.wait_for_selector("#results h2:has-text(\"and not ' Rome'?\")")
    chosen = opened(query=f"{link.removeprefix(address).split('&')[0]}&step=1", waits="#step input:checked")
    chosen.click("#explain")
    asks(chosen, ".")


def test_a_link_that_means_nothing_is_told(opened):
    tab = opened(query="?text=Anna&method=hetta", waits="#address [role=alert]")
    assert tab.text_content("#address [role=alert]").startswith("There is no method 'hetta'")


def test_everything_has_a_name_for_those_who_do_not_see_it(opened):
    tab = opened()
    tab.click("#explain")
    asks(tab, " Oslo")
    for name in ("Text", "Chat", "Documents"):
        tab.get_by_role("tab", name=name).click()
        roles = "textbox, combobox, button, slider, radio, checkbox, progressbar, tab"
        unnamed = [
            line.strip()
            for line in tab.locator("body").aria_snapshot().splitlines()
            if re.fullmatch(rf"\s*- ({roles.replace(', ', '|')})(:.*| \[.*)?", line)
        ]
        assert unnamed == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(opened, theme, width):
    tab = opened(width=width, query=f"?__theme={theme}")
    tab.click("#explain")
    asks(tab, " Oslo")
    for name in ("Chat", "Documents"):
        tab.get_by_role("tab", name=name).click()
        assert tab.evaluate("document.documentElement.scrollWidth") == width

"""The pages in a real browser: with and without a key, and with texts that would like to run."""

import pytest
from chromium import chromium
from rerank_service import KEY, by_length, running

from rerank_plugins import BackendError, Reranker
from rerank_plugins.strategies import PairScore, Pointwise
from rerank_plugins.testing import Failing, Oracle

HOSTILE = "</textarea><script>document.title='taken'</script><img src=x onerror=\"alert(1)\">"


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def opened(browser):
    """Opens a page; what its console says, and requests to other hosts, are kept."""
    contexts = []

    def open_page(url, width=1280):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}))
        page, said = contexts[-1].new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        host = url.split("/")[2]
        page.on("request", lambda r: said.append(r.url) if host not in r.url[:40] else None)
        page.goto(url)
        return page, said

    yield open_page
    for context in contexts:
        context.close()


def cells(page, number):
    return page.eval_on_selector_all(
        "#order tr", f"rows => rows.map(r => r.children[{number}].textContent)"
    )


@pytest.mark.parametrize("width", [1280, 400])
def test_a_person_ranks_passages(url, opened, width):
    page, said = opened(url, width)
    page.click("#rank")
    page.wait_for_selector("#order tr")
    assert cells(page, 1) == ["2", "3", "1"]
    assert cells(page, 2) == ["37.0000", "31.0000", "21.0000"]
    assert cells(page, 3)[0].startswith("A flea")
    assert "calls 3" in page.inner_text("#cost")
    assert "[first text] how long" in page.inner_text("#asked details[open]")
    assert page.inner_text("#model") == "reranker"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []


def test_hostile_passages_are_shown_as_text(url, opened):
    page, said = opened(url)
    page.fill("#query", HOSTILE)
    page.fill("#passages", f"{HOSTILE}\n\ntwo\nlines\n\n{HOSTILE}{HOSTILE}")
    page.click("#rank")
    page.wait_for_selector("#order tr")
    assert cells(page, 3) == [HOSTILE * 2, HOSTILE, "two\nlines"]
    assert HOSTILE in page.inner_text("#asked")
    assert page.title() == "Rerank Plugins"
    assert page.query_selector("main img") is None
    assert said == []


def test_the_key_is_typed_and_kept_nowhere(opened):
    with running(by_length(), api_key=KEY) as locked:
        page, said = opened(locked)
        page.wait_for_selector("#lock:not([hidden])")
        page.click("#rank")
        page.wait_for_selector("#problem:not([hidden])")
        assert "the API key is missing or wrong" in page.inner_text("#problem")
        page.fill("#key", KEY)
        page.click("#rank")
        page.wait_for_selector("#order tr")
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [
            *(0, 0, ""),
        ]
        assert KEY not in page.url
        page.goto(f"{locked}/docs")
        page.fill("#key", KEY)
        page.click("text=Show")
        page.wait_for_selector("#RerankResponse")
    assert {text for text in said if "401" not in text} == set()


def test_an_instruction_is_told_or_refused(opened):
    with running(Reranker(Pointwise(), Oracle())) as asked, running(by_length()) as other:
        page, _ = opened(asked)
        page.fill("#instruction", "Find code.")
        page.click("#rank")
        page.wait_for_selector("#order tr")
        assert "Find code." in page.text_content("#asked")
        page, _ = opened(other)
        page.fill("#instruction", "Find code.")
        page.click("#rank")
        page.wait_for_selector("#problem:not([hidden])")
        assert "PairScore has no place for an instruction" in page.inner_text("#problem")
        page.fill("#instruction", " ")
        page.click("#rank")
        page.wait_for_selector("#order tr")


def test_a_failure_is_said(opened):
    broken = Reranker(
        PairScore(), Failing(lambda: BackendError("no memory")), on_error="keep_order"
    )
    with running(broken) as failing:
        page, _ = opened(failing)
        page.click("#rank")
        page.wait_for_selector("#order tr")
        assert cells(page, 2) == ["not read"] * 3
        assert "BackendError" in page.inner_text("#warnings")
    page.click("#rank")  # the service has ended
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem") == "The service does not answer."


@pytest.mark.parametrize("width", [1280, 400])
def test_the_interface_is_described(url, opened, width):
    page, said = opened(f"{url}/docs", width)
    page.wait_for_selector("#RerankResponse")
    text = page.inner_text("main")
    for part in ("/v2/rerank", "top_n", "1000 items at most", "From 0 to 1, in descending order"):
        assert part in text
    assert "`" not in text
    assert page.inner_text("#RerankRequest p").startswith("A query and the documents to rank")
    assert "score" in page.eval_on_selector_all("td code", "all => all.map(c => c.textContent)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []

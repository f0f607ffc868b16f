"""The chat page with a model that says what a script says: what the page makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
expect = playwright.expect

from page_moves import answered, ask, hand_over, picture, side  # noqa: E402 - needs playwright
from page_server import EchoServer  # noqa: E402 - as above

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.browser, pytest.mark.system("chromium")]

IMAGE = "<img src=x onerror=\"document.title='owned'\">"
HOSTILE = [
    IMAGE,
    "<script>document.title='owned'</script>",
    "[click](javascript:document.title='owned')",
    "[click](JaVaScRiPt:document.title='owned')",
    "[click](data:text/html,<script>parent.document.title='owned'</script>)",
    "[click](vbscript:x) <javascript:document.title='owned'>",
    "![x](javascript:document.title='owned')",
    "![pixel](https://evil.example/pixel.png?secret=1)",
    '![x](https://evil.example/"onerror="document.title=1)',
    "[x](https://evil.example/'onmouseover='document.title=1 \"t\")",
    "```html\n<img src=x onerror=document.title='owned'>\n```",
    "```\"><img src=x onerror=document.title='owned'>\nx\n```",
    "| <b>a</b> | b |\n|---|---|\n| <svg onload=document.title='owned'> | `<i>` |",
    "<iframe src=https://evil.example></iframe><style>body{display:none}</style>",
    "<a href=javascript:document.title='owned'>x</a>",
    "# <img src=x onerror=document.title='owned'>",
    "> - **<details open ontoggle=document.title='owned'>**",
    "\ue0001\ue001 &#106;avascript:x &lt;script&gt;",
]
MARKDOWN = """\
## Leave

New *employees* have **30 days** and ~~29~~ ***more***, `weft up` starts it. See <https://example.org/a_b_c> or https://example.org/x).

1. First
   - nested `code`
2. Second

> Quoted
> text

| day | hours |
|:----|------:|
| Mon | 8 |
| Tue | 7\\|8 |

```python
def leave(days: int) -> str:
    return f"<b>{days}</b>"
```

![A map](https://example.org/map.png) and [the site](https://example.org "title"), snake_case_name, 2 * 3 * 4.

---

- [x] done
- [ ] open"""


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    """A gateway whose model says what it was asked."""
    running = EchoServer(tmp_path_factory.mktemp("echo"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    """A second server on this machine, with another model."""
    running = EchoServer(tmp_path_factory.mktemp("other"), "Other")
    yield running
    running.stop()


# Answers.


def test_markdown_is_rendered(new_page: Callable[..., Any], echo: EchoServer) -> None:
    """Headings, lists, tables, code, emphasis and links are what they say; a picture is named, and is not fetched."""
    page = new_page()
    page.goto(echo.url)
    ask(page, MARKDOWN)
    text = answered(page).locator(".text")
    picture(page, "markdown")
    expect(text.get_by_role("heading", name="Leave")).to_be_visible()
    assert text.locator("em").all_inner_texts() == ["employees", "more"]
    assert text.locator("strong").all_inner_texts() == ["30 days", "more"]
    expect(text.locator("del")).to_have_text("29")
    expect(text.locator("ol > li")).to_have_count(2)
    expect(text.locator("ol ul li code")).to_have_text("code")
    expect(text.locator("blockquote")).to_contain_text("Quoted")
    assert text.locator("td").all_inner_texts() == ["Mon", "8", "Tue", "7|8"]
    expect(text.locator("pre code")).to_have_text('def leave(days: int) -> str:\n    return f"<b>{days}</b>"')
    expect(text).to_contain_text("snake_case_name, 2 * 3 * 4.")
    assert [link.get_attribute("href") for link in text.locator("a").all()] == [
        "https://example.org/a_b_c",
        "https://example.org/x",
        "https://example.org/map.png",
        "https://example.org/",
    ]
    for link in text.locator("a").all():
        assert link.get_attribute("rel") == "noopener noreferrer nofollow"
        assert link.get_attribute("target") == "_blank"
    expect(text.locator(".image")).to_contain_text("Picture: A map")
    expect(text.locator("hr")).to_have_count(1)
    expect(text).to_contain_text("☑ done")
    text.get_by_role("button", name="Copy code").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("def leave")
    page.get_by_role("button", name="Copy answer").click()
    assert page.evaluate("navigator.clipboard.readText()").strip() == MARKDOWN


def test_what_is_hostile_is_text(new_page: Callable[..., Any], echo: EchoServer) -> None:
    """Mark-up and addresses that would run something are shown, while they stream and afterwards, and do nothing."""
    page = new_page()
    page.on("dialog", lambda _: pytest.fail("a script of an answer ran"))
    page.goto(echo.url)
    ask(page, "\n\n".join(HOSTILE))
    text = answered(page).locator(".text")
    expect(text).to_contain_text("<iframe src=https://evil.example>")
    expect(text).to_contain_text("<script>document.title='owned'</script>")
    inside = page.locator("#messages")
    assert inside.locator("img, script, iframe, style, svg:not(.icon), details:not(.steps), b").count() == 0
    addresses = [link.get_attribute("href") for link in inside.locator("a").all()]
    assert addresses
    assert all(address.startswith("https://evil.example/") for address in addresses)
    for link in inside.locator("[onerror], [onmouseover], [onload]").all():
        pytest.fail(link.evaluate("it => it.outerHTML"))
    page.get_by_text("click").first.click()
    assert page.title() == "Weft"


@pytest.mark.parametrize(
    "text",
    ["[" * 50_000, "![](" * 20_000, "*a **b " * 20_000, "`" * 3 + "`a`` " * 20_000, "> " * 5_000, "- " * 5_000 + "x",
     "<" * 50_000, "https://" + ")" * 50_000, "|" * 20_000 + "\n" + "|-" * 20_000, "\n".join(["~~~", "a"] * 10_000),
     " " * 50_000 + "x", "#" * 50_000, "_" * 50_001 + "a", "1. " * 5_000],
    ids=lambda text: repr(text[:6]),
)  # fmt: skip
def test_odd_markdown_takes_no_time(browser: Any, echo: EchoServer, text: str) -> None:
    """Nothing that a model or a document says holds the page up: whatever it is, it is shown within seconds."""
    page = browser.contexts[0].pages[0] if browser.contexts else browser.new_context().new_page()
    page.set_default_timeout(20_000)
    if page.url != f"{echo.url}/":
        page.goto(echo.url)
    kept = json.dumps(
        {
            "version": 1,
            "conversations": [
                {
                    "id": "1",
                    "title": "odd",
                    "updated": 1,
                    "turns": [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}],
                }
            ],
        }
    )
    took = page.evaluate(
        """async (kept) => {
            localStorage.setItem('weft.history', kept);
            dispatchEvent(new StorageEvent('storage', {key: 'weft.history'}));
            const begun = performance.now();
            document.querySelector('.conversation').click();
            return performance.now() - begun;
        }""",
        kept,
    )
    assert page.locator("li.assistant .text").text_content()
    assert took < 5_000  # quadratic work would take minutes


def test_a_citation_is_where_the_server_put_it(page: Any, echo: EchoServer) -> None:
    """Counted in characters, not in code units; a footnote within a quotation is none, and neither is one unheard of."""
    page.goto(echo.url)
    quote = "Leave [1] is **30** days [2] & <b>more</b>."
    hand_over(page, "cited.txt", f"Before it.\n\n{quote}\n\nAfter it.\n")
    ask(page, f"cite |cited.txt|{IMAGE}|{quote}")
    answer = answered(page)
    expect(answer.locator(".cite")).to_have_count(2)
    assert f"“{quote}” 1" in answer.locator(".text").inner_text()
    assert "Indeed 1, but not [2]." in answer.locator(".text").inner_text()
    expect(answer.locator(".sources")).to_contain_text(IMAGE)
    answer.locator(".cite").first.click()
    expect(page.locator("#passage mark")).to_have_text(quote)
    expect(page.locator("#passage-body")).to_contain_text("After it.")
    picture(page, f"cited-{page.viewport_size['width']}")
    assert page.locator("#passage img, #messages img").count() == 0
    assert page.title() == "Weft"
    page.locator("#passage-close").click()
    # A document that is gone says so, and the quotation stays.
    ask(page, f"cite |gone.txt|gone.txt|{quote}")
    answered(page).locator(".cite").first.click()
    expect(page.locator("#passage-body")).to_contain_text("The document cannot be shown")
    expect(page.locator("#passage-body blockquote")).to_have_text(quote)


def test_stop_ends_the_answer_on_both_sides(page: Any, echo: EchoServer) -> None:
    """The button appears while an answer comes; pressed, the server stops too, and the next question is answered."""
    page.goto(echo.url)
    closed = echo.files / "closed"
    closed.unlink(missing_ok=True)
    ask(page, "go on forever")
    expect(page.locator("li.assistant .text")).to_contain_text("and on and on")
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_be_visible()
    picture(page, f"streaming-{page.viewport_size['width']}")
    stop.click()
    expect(page.locator("li.assistant .note")).to_have_text("Stopped.")
    expect(stop).to_be_hidden()
    said = page.locator("li.assistant .text").inner_text()
    ask(page, "hello again")
    expect(answered(page).locator(".text")).to_contain_text("hello again")
    assert page.locator("li.assistant .text").first.inner_text() == said
    assert closed.exists()  # the component was told before the next question was answered


def test_an_answer_that_breaks_off_says_so_and_is_asked_again(page: Any, echo: EchoServer) -> None:
    """What came stays, the error is under it; asking again replaces it; the conversation goes on."""
    page.goto(echo.url)
    ask(page, "fail")
    answer = answered(page)
    expect(answer.locator(".text")).to_have_text("half an ans")
    expect(answer.locator(".error")).to_contain_text("component")
    picture(page, f"error-{page.viewport_size['width']}")
    ask(page, "count")
    first = answered(page).locator(".text").inner_text()
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator("li.assistant")).to_have_count(2)
    expect(page.locator("li.assistant .text").last).not_to_have_text(first)
    assert answered(page).locator(".text").inner_text().startswith("answer ")


def test_the_services_that_ran_are_told(new_page: Callable[..., Any], echo: EchoServer) -> None:
    """From the last event of the reply; an answer that failed says which one did."""
    page = new_page()
    page.goto(echo.url)
    ask(page, "fail")
    steps = answered(page).locator(".steps")
    expect(steps.locator("summary")).to_contain_text("1 service")
    steps.locator("summary").click()
    expect(steps.locator("tr.failed th").last).to_have_text("answer llm (failed: service_failed)")
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "hello")
    assert sent.value.headers["x-weft-journal"] == "on"


# Conversations.


def test_a_new_chat_forgets_the_one_before(page: Any, echo: EchoServer) -> None:
    """Also one whose answer is still coming: nothing of it is sent with the next question."""
    page.goto(echo.url)
    ask(page, "go on forever")
    expect(page.locator("li.assistant .text")).to_contain_text("and on")
    side(page)
    page.get_by_role("button", name="New chat").click()
    expect(page.locator("#messages li")).to_have_count(0)
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "who are you")
    body = json.loads(sent.value.post_data or "")
    assert body["messages"] == [{"role": "user", "content": "who are you"}]
    expect(answered(page).locator(".text")).to_contain_text("who are you")


def test_history_outlives_a_reload(page: Any, echo: EchoServer) -> None:
    """Each chat opens as it was, goes on from there, and is deleted alone or with all the others."""
    page.goto(echo.url)
    ask(page, f"first {IMAGE}")
    answered(page)
    side(page)
    page.get_by_role("button", name="New chat").click()
    ask(page, "second question")
    answered(page)
    page.reload()
    side(page)
    chats = page.locator("#conversations > li")
    expect(chats).to_have_count(2)
    picture(page, f"history-{page.viewport_size['width']}")
    chats.filter(has_text="first").locator(".conversation").click()
    expect(page.locator("li.assistant .text")).to_contain_text("first")
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "and then")
    answered(page)
    roles = [message["role"] for message in json.loads(sent.value.post_data or "")["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert page.locator("img").count() == 0
    side(page)
    chats.filter(has_text="second").get_by_role("button", name="Delete the chat").click()
    expect(chats).to_have_count(1)
    side(page)
    page.get_by_role("button", name="Delete all chats").click()
    page.get_by_role("dialog", name="Delete all chats?").get_by_role("button", name="Delete all").click()
    page.reload()
    expect(page.locator("#welcome")).to_be_visible()
    assert page.locator("#conversations > li").count() == 0
    assert json.loads(page.evaluate("localStorage.getItem('weft.history')"))["conversations"] == []


def test_history_is_bounded(new_page: Callable[..., Any], echo: EchoServer) -> None:
    """Fifty chats and two million characters; the oldest go; what cannot be read is left behind without a word."""
    page = new_page()
    page.goto(echo.url)
    page.evaluate(
        """() => localStorage.setItem('weft.history', JSON.stringify({version: 1, conversations:
            Array.from({length: 80}, (_, i) => ({id: `${i}`, title: `chat ${i}`, updated: 80 - i,
                turns: [{role: 'user', content: 'x'.repeat(60000)}]}))}))"""
    )
    page.reload()
    ask(page, "one more")
    answered(page)
    kept = page.evaluate("localStorage.getItem('weft.history')")
    assert len(kept) <= 2_000_000
    titles = [entry["title"] for entry in json.loads(kept)["conversations"]]
    assert titles[0] == "one more"
    assert 25 < len(titles) <= 50
    page.evaluate("localStorage.setItem('weft.history', '{broken')")
    page.reload()
    expect(page.locator("#welcome")).to_be_visible()


def test_a_browser_that_keeps_nothing_will_do(new_page: Callable[..., Any], echo: EchoServer) -> None:
    """Without storage the page works until it is left, and says that it keeps no history."""
    page = new_page()
    page.add_init_script(
        """for (const name of ['localStorage', 'sessionStorage'])
            Object.defineProperty(window, name, {get() { throw new DOMException('blocked', 'SecurityError'); }});"""
    )
    page.goto(echo.url)
    for text in ("one", "two"):
        ask(page, text)
        expect(answered(page).locator(".text")).to_have_text(text)
    expect(page.locator("#history-note")).to_have_text("This browser keeps no history.")
    page.locator("#theme").click()
    hand_over(page, "unkept.txt", "Something.")


# Documents.


def test_an_upload_outlives_a_reload(page: Any, echo: EchoServer) -> None:
    """Its job goes on without the page, which shows it again, and how each file ended, until that is dismissed."""
    page.goto(echo.url)
    name = f"slow{page.viewport_size['width']}"
    hold = echo.files / "hold"
    hold.touch()
    try:
        side(page)
        page.locator("#files").set_input_files(
            [
                {"name": f"{name}.txt", "mimeType": "text/plain", "buffer": b"Some text that takes long."},
                {"name": f"{name}.bin", "mimeType": "application/octet-stream", "buffer": b"\0\1\2" * 100},
            ]
        )
        card = page.locator("#jobs > li")
        expect(card).to_contain_text("1 of 2 files")
        expect(card.locator("progress")).to_be_visible()
        picture(page, f"job-{page.viewport_size['width']}")
        page.reload()
        side(page)
        expect(card).to_have_count(1)
        expect(card).to_contain_text("1 of 2 files")
    finally:
        hold.unlink()
    expect(card.locator(".outcomes")).to_contain_text(f"{name}.txt is in")
    expect(card.locator(".outcomes .bad")).to_contain_text(f"{name}.bin was refused: ")
    expect(page.locator("#list")).to_contain_text(f"{name}.txt")
    page.reload()
    side(page)
    expect(card.locator(".outcomes .bad")).to_contain_text("was refused")
    picture(page, f"outcomes-{page.viewport_size['width']}")
    card.get_by_role("button", name="Dismiss").click()
    page.reload()
    side(page)
    expect(page.locator("#list")).to_contain_text(f"{name}.txt")
    expect(card).to_have_count(0)


def test_files_are_dropped_searched_and_opened(new_page: Callable[..., Any], echo: EchoServer) -> None:
    """Dropped anywhere on the page; a search finds one by its name; one that is opened is shown from its beginning."""
    page = new_page()
    page.goto(echo.url)
    names = [f"paper {number} {'long name ' * 12}.txt" for number in range(8)]
    dropped = page.evaluate_handle(
        """(names) => {
            const carried = new DataTransfer();
            for (const name of names) carried.items.add(new File([`This is ${name}, whole.`], name));
            return carried;
        }""",
        names,
    )
    page.dispatch_event("#messages", "dragenter", {"dataTransfer": dropped})
    expect(page.locator("#drop-here")).to_be_visible()
    picture(page, "drop")
    page.dispatch_event("#messages", "drop", {"dataTransfer": dropped})
    expect(page.locator("#drop-here")).to_be_hidden()
    expect(page.locator("#jobs .outcomes li")).to_have_count(8)
    expect(page.locator("#list .file").filter(has_text="paper")).to_have_count(8)
    page.get_by_label("Search the documents' names").fill("PAPER 5")
    expect(page.locator("#list .file")).to_have_count(1)
    picture(page, "search")
    page.locator("#list .file").click()
    expect(page.locator("#passage-body")).to_contain_text("This is paper 5")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_a_phone_shows_how_far_an_upload_is(new_page: Callable[..., Any], echo: EchoServer) -> None:
    """Files chosen in the middle of an empty page bring up the side, where their progress is."""
    page = new_page(phone=True)
    page.goto(echo.url)
    page.evaluate("sessionStorage.setItem('weft.collection', 'fresh')")
    page.reload()
    page.locator("#files-too").set_input_files(
        {"name": "fresh.txt", "mimeType": "text/plain", "buffer": b"Something fresh."}
    )
    expect(page.locator("#jobs .outcomes")).to_be_visible()
    expect(page.locator("#jobs .outcomes")).to_contain_text("fresh.txt is in")
    page.keyboard.press("Escape")
    ask(page, "which collection")
    expect(answered(page).locator(".text")).to_have_text("collection: fresh")


# The model.


def test_another_model_answers_and_the_first_again(page: Any, echo: EchoServer, other: EchoServer) -> None:
    """Chosen by its address while the page is open; its key is kept nowhere in the browser; then back to the default."""
    page.goto(echo.url)
    page.get_by_role("button", name="Use a better model").click()
    box = page.get_by_role("dialog", name="Use a better model")
    expect(box).to_contain_text("echo-1 answers now, in this installation")
    box.get_by_label("Address").fill(f"http://127.0.0.1:{other.port + 7}/v1")
    box.get_by_label("Model").fill("echo")
    box.get_by_role("button", name="Use this server").click()
    expect(box.get_by_role("alert")).to_contain_text(str(other.port + 7))
    picture(page, f"models-error-{page.viewport_size['width']}")

    key = box.get_by_label("Key")
    assert key.get_attribute("type") == "password"
    box.get_by_label("Address").fill(f"{other.url}/v1")
    key.fill("a-very-secret-key")
    box.get_by_role("button", name="Use this server").click()
    expect(box).to_contain_text(f"on {other.url}")
    expect(key).to_have_value("")
    picture(page, f"models-{page.viewport_size['width']}")
    box.get_by_role("button", name="Close").click()
    ask(page, "who speaks")
    expect(answered(page).locator(".text")).to_have_text("The second model speaks.")
    stored = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert "secret" not in stored

    page.locator("#better").click()
    box.get_by_role("button", name="Back to").click()
    expect(box).to_contain_text("echo-1 answers now")
    box.get_by_role("button", name="Close").click()
    ask(page, "the first again")
    expect(answered(page).locator(".text")).to_have_text("the first again")


# Policy.


def test_the_policy_forbids_foreign_and_inline_code(new_page: Callable[..., Any], echo: EchoServer) -> None:
    """The page comes with a policy under which injected code would not run if it got into the page after all."""
    page = new_page(policed=False)
    reply = page.goto(echo.url)
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "unsafe" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    refused = page.evaluate(
        """async () => {
            const refused = [];
            const told = (what, act) => { try { act(); } catch (error) { refused.push(what); } };
            told('html', () => { document.body.innerHTML = '<b>x</b>'; });
            told('source', () => { document.createElement('script').textContent = 'x'; });
            const violated = new Set();
            const all_told = new Promise((done) => document.addEventListener('securitypolicyviolation', (event) => {
                if (violated.add(event.effectiveDirective).size === 4) done();
            }));
            const image = new Image();
            image.src = 'https://evil.example/pixel.png';
            const styled = document.createElement('p');
            styled.setAttribute('style', 'display: none');
            document.body.append(image, styled);
            await fetch('https://evil.example/').catch(() => refused.push('fetch'));
            await all_told;
            return [refused, [...violated]];
        }"""
    )
    assert refused[0] == ["html", "source", "fetch"]
    assert set(refused[1]) == {"img-src", "connect-src", "style-src-attr", "require-trusted-types-for"}


def test_a_page_without_its_token_says_how_to_get_in(new_page: Callable[..., Any], echo: EchoServer) -> None:
    """When the server asks for its token, the page repeats in words what to do."""
    page = new_page()
    page.route(
        "**/v1/chat/completions", lambda route: route.fulfill(status=401, json={"error": {"message": "no"}})
    )
    page.goto(echo.url)
    ask(page, "anyone there")
    expect(answered(page).locator(".error")).to_contain_text("Open the link that it printed")
    page.unroute("**/v1/chat/completions")
    page.route("**/v1/chat/completions", lambda route: route.abort())
    ask(page, "and now")
    expect(answered(page).locator(".error")).to_contain_text("The server cannot be reached")


def test_the_printed_link_lets_the_page_in(
    new_page: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bound wider, the server asks for its token: the link opens the page once and for all, and everything works."""
    wide = EchoServer(tmp_path_factory.mktemp("wide"), "Echo", "--host", "0.0.0.0")
    try:
        wide.read_until("-d '")
        page = new_page()
        page.goto(wide.url)
        expect(page.get_by_role("heading")).to_have_text("This server asks for its access token")
        (token,) = set(re.findall(r"/\?token=(\S+)", wide.output))
        page.goto(f"{wide.url}/?token={token}")
        assert "token" not in page.url
        hand_over(page, "wide.txt", "All keys hang in the hall.")
        ask(page, "hello")
        expect(answered(page).locator(".text")).to_have_text("hello")
        page.locator("#better").click()
        expect(page.locator("#models-now")).to_contain_text("echo-1")
        page.reload()
        expect(page.locator("#list")).to_contain_text("wide.txt")
    finally:
        wide.stop()


def test_colours_are_switched_and_kept(new_page: Callable[..., Any], echo: EchoServer) -> None:
    """As the system has them, light, dark; a reload does not change them."""
    page = new_page(scheme="dark")
    page.goto(echo.url)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.locator("#theme").click()
    light = page.evaluate(ground)
    assert light == "rgb(255, 255, 255)" != dark
    page.reload()
    assert page.evaluate(ground) == light
    page.locator("#theme").click()
    assert page.evaluate(ground) == dark


def test_it_is_used_by_keyboard_alone(new_page: Callable[..., Any], echo: EchoServer) -> None:
    """Ask with Enter, go to the citation, open it, leave it with Escape, and be back where one was."""
    page = new_page()
    page.goto(echo.url)
    hand_over(page, "keys.txt", "All keys hang in the hall.\n")
    page.get_by_label("Your question").focus()
    page.keyboard.type("cite |keys.txt|keys.txt|All keys hang in the hall.")
    page.keyboard.press("Enter")
    answered(page)
    said = page.locator("#said")
    expect(said).to_contain_text("Answer: ")
    expect(page.get_by_label("Your question")).to_be_focused()
    for _ in range(30):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.classList.contains('cite')"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#passage-close")).to_be_focused()
    expect(page.locator("#passage mark")).to_have_text("All keys hang in the hall.")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.classList.contains('cite')")

"""The console in a browser: every view, by mouse and by keyboard, dark and light, wide and narrow."""

import html
import json
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from harness import sources
from harness.bridge import REPOSITORY
from harness.sources import unique
from harness.wait import until
from playwright.sync_api import expect, sync_playwright

PICTURES = REPOSITORY / "target" / "screenshots"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1360, "height": 860}
VIEWS = ["/", "/events", "/refused", "/sources", "/backends", "/dead-letters"]
HOSTILE = "<script>window.ran=1</script><img src=x onerror=window.ran=1>\"'"


@pytest.fixture(scope="module")
def chromium():
    path = shutil.which("chromium")
    assert path, "no chromium: run scripts/tools"
    quiet = ["--disable-background-networking", "--no-first-run", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        # A container's root cannot make the sandbox; only this test's own pages are opened.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield browser
        browser.close()


class Visit:
    """A browser window that keeps what no page of the console may do."""

    def __init__(self, browser, bridge, **options):
        self.base = f"http://127.0.0.1:{bridge.admin_port}"
        self.context = browser.new_context(base_url=self.base, viewport=options.pop("viewport", DESK), **options)
        self.context.set_default_timeout(15_000)
        self.page = self.context.new_page()
        self.faults = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", self._asked)

    def _said(self, message):
        if message.type in ("error", "warning") and "401" not in message.text:
            self.faults.append(f"{message.type}: {message.text}")

    def _asked(self, request):
        if not request.url.startswith(self.base):
            self.faults.append(f"foreign request: {request.url}")

    def go(self, path):
        self.page.goto(path, wait_until="load")
        return self.page

    def picture(self, name):
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)

    def close(self):
        assert self.page.evaluate("window.ran") is None, "a sender's script ran"
        self.context.close()
        assert not self.faults, self.faults


@pytest.fixture
def visit(chromium):
    made = []

    def make(bridge, **options):
        made.append(Visit(chromium, bridge, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask(bridge, path):
    return bridge.admin("GET", path).json()


ANY_TEXT = """
[sources.open]
provider = "custom"
secrets = ["literal:key-of-the-open-source"]
headers = ["x-note"]
[sources.open.verify]
kind = "token"
token = { header = "x-key" }
[sources.open.event]
id = "body:/id"
type = "body:/type"
"""


def hostile(bridge, kind=HOSTILE):
    body = json.dumps({"type": kind, "id": unique(HOSTILE), "text": HOSTILE})
    answer = bridge.post("/webhooks/open", [("content-type", "application/json"), ("x-key", "key-of-the-open-source"), ("x-note", HOSTILE)], body.encode())
    assert answer.status == 200, answer
    return bridge.page(limit=1000)["events"][-1]


@pytest.fixture
def full(bridges, senders, to_redis):
    """A bridge with something to see in every view."""
    lost = '\n[backends.lost]\ntype = "redis"\nurl = "redis://127.0.0.1:1"\nstream = "x"\n'
    bridge = bridges(sources.CONFIG + ANY_TEXT + to_redis + lost).start()
    for _ in range(12):
        one = senders.make("std")
        assert bridge.post(one.path, one.headers, one.body).status == 200
    one = senders.make("std")
    assert bridge.post(one.path, one.headers, one.body + b" ").status == 401
    assert bridge.post("/webhooks/nobody", [], b"").status == 404
    hostile(bridge)
    return bridge


def bury(bridge, backend="main"):
    """Makes a dead letter of the newest event, as a lane would have."""
    event = bridge.page(limit=1000)["events"][-1]
    letter = {
        "id": f"{backend}-{int(event['sequence'])}", "backend": backend, "sequence": event["sequence"],
        "reason": "rejected", "detail": f"too large {HOSTILE}", "attempts": 3, "time_ms": 1_790_000_000_000, "event": event,
    }
    directory = Path(bridge.journal_dir) / "dead" / backend
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{event['sequence']}.json").write_text(json.dumps(letter))
    return letter["id"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", ["desk", "phone"])
def test_every_view_shows_what_is_there_and_nothing_foreign(full, visit, scheme, width):
    bury(full)
    window = visit(full, color_scheme=scheme, viewport=DESK if width == "desk" else PHONE, is_mobile=width == "phone")
    event = full.page(limit=1000)["events"][-1]
    for path in [*VIEWS, f"/events/{int(event['sequence'])}"]:
        page = window.go(path)
        expect(page.locator("main")).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} px wider than the window"
        name = {"/": "overview"}.get(path, "event" if path.startswith("/events/") else path.strip("/"))
        window.picture(f"{name}-{width}-{scheme}")
    page = window.go(f"/events/{int(event['sequence'])}")
    expect(page.locator("pre").first).to_contain_text("<script>window.ran=1</script>")
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", back)[:3])) < 200) == (scheme == "dark")


def test_a_wrong_secret_is_found_in_the_refused_requests(full, visit):
    page = visit(full).go("/refused?source=std")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator(".seen")).to_contain_text("no key gives it: a wrong secret")
    page.goto("/refused?source=_unknown")
    expect(page.locator(".seen")).to_contain_text("no source has the path")


def test_a_refused_request_breaks_out_of_no_page(full, visit):
    # A path holds no `<` as it is, but what becomes one where a page decodes too much, or escapes too little.
    paths = [f"/{quote(HOSTILE)}", "/" + html.escape(HOSTILE.replace(" ", "/"), quote=False)]
    headers = [(name, HOSTILE) for name in ("content-type", "user-agent", "x-key", "x-note", "x-forwarded-for")]
    page = visit(full).go("/refused?source=_unknown")
    expect(page.locator("tbody tr")).to_have_count(1)
    for path in paths:
        assert full.post(path, headers, HOSTILE.encode()).status == 404
    assert full.post("/webhooks/open", headers, HOSTILE.encode()).status == 401

    def shows(rows, unknown):
        expect(page.locator("tbody tr")).to_have_count(rows, timeout=15_000)
        # At once: what the script puts in its place a moment later may be better.
        assert page.locator("tr", has_text="_unknown").locator(".seen").all_text_contents() == unknown
        assert page.locator("main script, main img, main [onerror], .seen li *").count() == 0

    unknown = [f"no source has the path `{path}`" for path in [*reversed(paths), "/webhooks/nobody"]]
    # As the script brings it to the open page, and as the page is by itself.
    shows(3, unknown)
    page.goto("/refused")
    shows(5, unknown)
    page.goto("/refused?source=open")
    shows(1, [])
    page.goto(f"/refused?source={quote(HOSTILE)}")
    shows(0, [])


def test_events_come_by_themselves_and_are_found_again(full, visit, senders):
    window = visit(full)
    page = window.go("/events")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    one = senders.make("std")
    assert full.post(one.path, one.headers, one.body).status == 200
    expect(page.locator("tbody tr").first).to_contain_text(one.id)
    hostile(full)
    expect(page.locator("tbody tr").first).to_contain_text("open")
    page.get_by_label("Id").fill(one.id)
    page.get_by_label("From").fill("10m")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text(one.id)
    page.get_by_label("Until").fill("5m")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("No event here.")).to_be_visible()
    page.get_by_label("Until").fill("yesterday")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("is no time")


def test_a_backend_is_paused_and_resumed_and_an_event_replayed(full, visit):
    page = visit(full).go("/backends")
    row = page.locator("tr", has_text="main")
    row.get_by_role("button", name="Pause").click()
    expect(row.locator(".pill")).to_have_text("paused")
    assert {one["name"]: one["state"] for one in ask(full, "/v1/backends")["backends"]}["main"] == "paused"
    row.get_by_role("button", name="Resume").click()
    expect(row.locator(".pill")).to_have_text("up")
    expect(page.locator("tr", has_text="lost")).to_contain_text("Connection refused")
    sequence = int(full.page(limit=1)["events"][0]["sequence"])
    page.goto(f"/events/{sequence}")
    page.locator("tr", has_text="main").get_by_role("button", name="Replay").click()
    expect(page.get_by_role("status").filter(has_text="published again")).to_be_visible()


def test_dead_letters_are_dropped_and_replayed_together(full, visit):
    ids = []
    for _ in range(3):
        hostile(full)
        ids.append(bury(full))
    page = visit(full).go("/dead-letters")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.locator(f'input[value="{ids[0]}"]').check()
    page.get_by_text("Drop…").click()
    page.get_by_role("button", name="Drop chosen for ever").click()
    expect(page.get_by_text("1 decided")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Replay all").click()
    expect(page.get_by_text("2 decided")).to_be_visible()
    until(lambda: not ask(full, "/v1/dead-letters")["dead_letters"], 20, "no letter is left")


def test_all_dead_letters_of_one_backend_are_dropped_at_once(full, visit):
    for backend in ("main", "main", "lost"):
        hostile(full)
        bury(full, backend)
    page = visit(full).go("/dead-letters?backend=main")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_text("Drop…").click()
    page.get_by_role("button", name="Drop all of main for ever").click()
    expect(page.get_by_text("2 decided")).to_be_visible()
    left = ask(full, "/v1/dead-letters")["dead_letters"]
    assert [letter["backend"] for letter in left] == ["lost"]


def test_an_event_says_how_long_its_delivery_took(full, visit, senders):
    page = visit(full).go("/events")
    one = senders.make("std")
    assert full.post(one.path, one.headers, one.body).status == 200
    row = page.locator("tbody tr", has_text=one.id)
    # It comes as it is accepted, and a moment later it is known where it went.
    expect(row.locator(".chip.good")).to_have_text(re.compile(r"^main delivered \d+(\.\d)? m?s$"))
    expect(row.locator(".chip.warn")).to_have_text("lost waiting")
    row.locator("a.mono").click()
    expect(page.locator("tr", has_text="main")).to_contain_text("after its receipt")


def test_the_console_is_walked_by_keys_alone(full, visit):
    page = visit(full).go("/")
    for key, path in [("e", "/events"), ("r", "/refused"), ("s", "/sources"), ("b", "/backends"), ("d", "/dead-letters"), ("o", "/")]:
        page.keyboard.press(key)
        page.wait_for_url(f"**{path}")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.goto("/events")
    page.keyboard.press("/")
    expect(page.get_by_label("Id")).to_be_focused()
    page.keyboard.type("nothing")
    page.keyboard.press("Enter")
    page.wait_for_url("**id=nothing**")
    page.goto("/backends")
    button = page.get_by_role("button", name="Pause main")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Resume main")).to_be_visible()
    page.get_by_role("button", name="Resume main").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Pause main")).to_be_visible()


def test_a_token_is_asked_for_once_and_forgotten_at_the_end(bridges, visit):
    bridge = bridges(ANY_TEXT, admin='token = "literal:correct-horse-battery"')
    bridge.token = "correct-horse-battery"
    bridge.start()
    hostile(bridge)
    window = visit(bridge)
    page = window.go("/events")
    window.picture("login-desk-light")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not the token")
    page.get_by_label("Token").fill("correct-horse-battery")
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    expect(page.locator("tbody tr")).to_have_count(1)
    cookie = window.context.cookies()[0]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and not cookie["secure"], "plain HTTP, as configured"
    assert "correct-horse" not in json.dumps(cookie)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    assert page.goto("/").status == 401


def test_another_site_can_neither_read_nor_change(full, chromium):
    """A page of another origin posts a form, and a rebound name reads."""
    context = chromium.new_context()
    page = context.new_page()
    target = f"http://127.0.0.1:{full.admin_port}"
    page.route("http://evil.test/", lambda route: route.fulfill(
        content_type="text/html", body=f'<form method=post action="{target}/backends/main/pause"><button>x</button></form>'))
    page.goto("http://evil.test/")
    page.click("button")
    expect(page.locator("body")).to_contain_text("forbidden")
    states = {one["name"]: one["state"] for one in ask(full, "/v1/backends")["backends"]}
    assert states["main"] == "up"
    context.close()
    for path in ["/", "/v1/events", "/metrics"]:
        answer = full.admin("GET", path, [("host", "evil.test")])
        assert answer.status == 403, (path, answer)
    assert full.admin("GET", "/livez", [("host", "10.0.0.7")]).status == 200

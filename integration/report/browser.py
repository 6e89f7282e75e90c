"""Opens reports in chromium, as a reader does, and checks what they show and do.

Usage: browser.py REPORT HOSTILE BIG [SCREENSHOT], each a file that `sc-record report` wrote. Prints what was checked.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")

# How much time of a processor a page may take until it has loaded, in seconds: the machine does other things too.
FAST = 1.0


class Reader:
    """A page, and everything that it did besides showing itself."""

    def __init__(self, browser, path, anchor="", **context):
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.trouble, self.requests = [], []
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.trouble.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = Path(path).resolve().as_uri()
        self.page.goto(self.url + anchor)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None:
            assert self.trouble == [], self.trouble
            assert [url.split("#")[0] for url in self.requests] == [self.url], self.requests

    def shown(self):
        """The names in the table, in its order."""
        return self.page.locator("#table tbody:not([hidden]) th button").all_inner_texts()

    def status(self):
        return self.page.locator("#status").inner_text()

    def focused(self):
        return self.page.evaluate("document.activeElement.textContent || document.activeElement.id")

    def axe(self):
        results = Axe().run(self.page).response
        assert results["passes"], "axe checked nothing"
        problems = [(one["id"], [node["html"] for node in one["nodes"]]) for one in results["violations"]]
        assert problems == [], problems


def searches_filters_and_sorts(browser, path):
    with Reader(browser, path) as reader:
        page, everything = reader.page, reader.shown()
        page.set_default_timeout(5000)
        assert everything[0] == "mount" and everything[1:] == sorted(everything[1:]), everything
        page.fill("#search", "OPENAT /bin/server")
        assert reader.shown() == ["openat"], reader.shown()
        assert reader.status() == f"1 of {len(everything)} calls shown"
        page.fill("#search", "")
        page.select_option("#risk", "escape")
        assert reader.shown() == ["mount"]
        page.select_option("#risk", "")
        page.select_option("#executable", label="/bin/client")
        assert reader.shown() == ["mount", "connect"], reader.shown()
        page.select_option("#executable", "")
        page.select_option("#label", label="test=upload")
        assert "mount" in reader.shown() and "connect" not in reader.shown(), reader.shown()
        page.select_option("#label", "")
        page.select_option("#only", "policy safe")
        assert "exit" in reader.shown() and "read" not in reader.shown(), reader.shown()
        page.select_option("#only", "")
        assert reader.shown() == everything
        page.get_by_role("button", name="Times", exact=True).click()
        page.get_by_role("button", name="Times", exact=True).click()
        heading = page.locator("th[aria-sort]")
        assert (heading.count(), heading.get_attribute("aria-sort")) == (1, "descending")
        assert reader.shown()[0] == "read" and sorted(reader.shown()) == sorted(everything), reader.shown()
    return "search, filters and sorting"


def follows_links(browser, path):
    with Reader(browser, path, "#call-openat") as reader:
        row = reader.page.locator("#call-openat")
        reader.page.wait_for_function("document.activeElement.textContent === 'openat'")
        assert row.locator(".detail").is_visible()
        assert row.locator("tr").first.evaluate("e => e.getBoundingClientRect().top < innerHeight")
        assert not reader.page.locator("#call-read .detail").is_visible()
        # A filter that hides the call is dropped.
        reader.page.fill("#search", "mount")
        reader.page.evaluate("location.hash = 'call-read'")
        reader.page.wait_for_function("document.activeElement.textContent === 'read'")
        assert reader.page.locator("#call-read .detail").is_visible()
    return "deep links"


def copies(browser, path):
    context = {"permissions": ["clipboard-read", "clipboard-write"]}
    with Reader(browser, path, **context) as reader:
        reader.page.fill("#search", "openat")
        reader.page.click("#copy")
        reader.page.wait_for_function("document.getElementById('status').textContent.includes('copied')")
        copied = json.loads(reader.page.evaluate("navigator.clipboard.readText()"))
        [call] = copied["calls"]
        assert (call["name"], call["executables"], len(call["runs"])) == ("openat", ["/bin/server"], 2), call
    # Without permission, the text is shown for copying by hand.
    with Reader(browser, path) as reader:
        reader.page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject(new Error('no')))")
        reader.page.click("#copy")
        reader.page.wait_for_selector("#json", state="visible")
        assert len(json.loads(reader.page.input_value("#json"))["calls"]) == len(reader.shown())
    return "copy as JSON"


def works_by_keyboard(browser, path):
    with Reader(browser, path) as reader:
        keyboard = reader.page.keyboard

        def reach(wanted):
            for _ in range(60):
                keyboard.press("Tab")
                if reader.focused() == wanted:
                    return
            raise AssertionError(f"the Tab key does not reach {wanted}")

        reach("Skip to the calls")
        keyboard.press("Enter")
        reach("search")
        keyboard.type("connect")
        assert reader.shown() == ["connect"], reader.shown()
        reach("Times")
        keyboard.press("Enter")
        assert reader.page.locator("th[aria-sort] button").inner_text() == "Times"
        reach("connect")
        keyboard.press("Enter")
        assert reader.page.locator("#call-connect .detail").is_visible()
        assert reader.page.locator("#call-connect button").get_attribute("aria-expanded") == "true"
        keyboard.press("Space")
        assert not reader.page.locator("#call-connect .detail").is_visible()
    return "keyboard"


def is_accessible(browser, path):
    for scheme in ("light", "dark"):
        with Reader(browser, path, color_scheme=scheme) as reader:
            reader.axe()
            reader.page.click("#open-all")
            assert reader.page.locator(".detail:visible").count() == len(reader.shown())
            reader.axe()
    with Reader(browser, path, viewport={"width": 360, "height": 700}) as reader:
        reader.axe()
        assert reader.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return "axe, light, dark and narrow"


def shows_all_without_scripts_and_prints(browser, path):
    with Reader(browser, path, java_script_enabled=False) as reader:
        page = reader.page
        assert page.locator(".detail:visible").count() == page.locator("#table tbody").count()
        assert not page.locator("#search").is_visible()
    with Reader(browser, path) as reader:
        reader.page.emulate_media(media="print")
        assert not reader.page.locator("#search").is_visible() and reader.page.locator("#call-read").is_visible()
        assert reader.page.pdf()[:5] == b"%PDF-"
    return "no scripts, print"


def runs_nothing_hostile(browser, path):
    with Reader(browser, path) as reader:
        page = reader.page
        page.click("#open-all")
        assert page.evaluate("window.pwned") is None
        found = page.evaluate("[...document.querySelectorAll('img, iframe, object, a[href^=javascript], b, [onerror]')].length")
        assert found == 0, page.content()
        assert page.locator("script").count() == 2
        text = page.locator("body").inner_text()
        for visible in ("<script>pwned=1</script>", "<img src=x onerror=pwned=1>", "\\u{1b}[31m", "\\u{202e}"):
            assert visible in text, (visible, text)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page.content())
        page.fill("#search", "</script>")
        assert len(reader.shown()) > 0
        reader.axe()
        # The policy holds also for what a browser lets a page do later.
        page.evaluate("document.body.append(Object.assign(document.createElement('img'), {src: 'http://127.0.0.1:9/x'}))")
        page.wait_for_timeout(100)
        assert any("Content Security Policy" in text for text in reader.trouble), reader.trouble
        reader.trouble.clear()
        assert reader.requests.pop() == "http://127.0.0.1:9/x"
    return "hostile names"


def opens_fast(browser, path):
    times = []
    for _ in range(3):
        with Reader(browser, path) as reader:
            session = reader.context.new_cdp_session(reader.page)
            session.send("Performance.enable")
            metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
            times.append(metrics["ProcessTime"])
            assert len(reader.shown()) >= 400
            assert reader.page.locator("#runs tbody tr").count() == 1000
    assert 0 < min(times) < FAST, times
    print(f"400 calls and 1000 runs: {min(times):.2f} s", file=sys.stderr)
    return "400 calls and 1000 runs"


def main():
    report, hostile, big, *screenshot = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for check in (
            searches_filters_and_sorts, follows_links, copies, works_by_keyboard, is_accessible,
            shows_all_without_scripts_and_prints,
        ):
            print(check(browser, report), flush=True)
        print(runs_nothing_hostile(browser, hostile), flush=True)
        print(opens_fast(browser, big), flush=True)
        for path in screenshot:
            with Reader(browser, report, viewport={"width": 1100, "height": 900}) as reader:
                reader.page.screenshot(path=path)
        browser.close()


main()

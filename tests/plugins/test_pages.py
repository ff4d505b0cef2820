"""The pages inside Airflow: who may what, and every action in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from facecore.stores.catalog import audit
from facecore.stores.catalog.images import images
from facecore.stores.catalog.pages import people_pages
from facecore.stores.catalog.reports import alerts
from facecore.types import ImageStatus

DAY = "2001-05-02"  # of the only report
PAGES = ("/overview", "/people", "/people/1", "/quarantine", "/reports", "/models")
FILES = ("/faces/1.jpg", "/quarantine/1.jpg", f"/reports/activity/{DAY}_{DAY}.html", "/reports/x",
         "/static/style.css", "/static/script.js", "/reports/view/x")  # fmt: skip
FORMS = ("/overview/alerts/1", "/quarantine", "/people/by-name", "/people/by-face",
         "/people/1/name", "/people/1/merge", "/people/1/split", "/people/1/not",
         "/people/1/undo")  # fmt: skip
SEARCHES = ("/people/by-name", "/people/by-face")


def person(stores, label):
    with stores.catalog.transaction() as tx:
        return people_pages.find(tx, label)[0]


def newest_entry(stores):
    with stores.catalog.transaction() as tx:
        return audit.newest(tx, limit=1)[0]


def send(client, path, fields=None, *, token="", origin=None, **options):
    headers = {"Origin": origin or str(client.base_url).rstrip("/")}
    fields = {"token": token, **(fields or {})}
    return client.post(f"/facecore{path}", data=fields, headers=headers, **options)


def token_of(client, path="/people"):
    return re.search(r'name="token" value="(\w+)"', client.get(f"/facecore{path}").text)[1]


# Who may ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, *FILES, "/"])
def test_the_anonymous_see_nothing(site, path):
    with site.client() as nobody:
        sent = nobody.get(f"/facecore{path}", follow_redirects=path == "/")
        if path != "/":
            assert sent.status_code == 303
            assert sent.headers["location"] == f"/api/v2/auth/login?next=/facecore{path}"
        refused = nobody.get(f"/facecore{path}", headers={"Accept": "image/*"})
        assert refused.status_code in (401, 307)
        assert "Obama" not in sent.text + refused.text


@pytest.mark.parametrize("path", FORMS)
def test_the_anonymous_and_other_sites_change_nothing(site, path):
    with site.client() as nobody, site.client("admin") as admin:
        assert send(nobody, path).status_code == 303
        token = token_of(admin)
        assert send(admin, path).status_code == 403
        assert send(admin, path, token=token, origin="https://evil.example").status_code == 403
        assert send(admin, path, token=token, origin="null").status_code == 403
        refused = admin.post(f"/facecore{path}", data={"token": token})
        assert refused.status_code == 403
        admin.cookies.delete("facecore_session")
        assert send(admin, path, token=token).status_code == 403


@pytest.mark.parametrize("path", [path for path in FORMS if path not in SEARCHES])
def test_a_viewer_reads_and_changes_nothing(site, path):
    with site.client("viewer") as viewer:
        refused = send(viewer, path, token=token_of(viewer))
        assert refused.status_code == 403
        assert "permission to edit" in refused.text
        assert "Rename" not in viewer.get("/facecore/people/1").text


def test_a_token_is_of_one_user(site):
    with site.client("admin") as admin, site.client("reviewer") as reviewer:
        token = token_of(admin)
        reviewer.cookies.set("facecore_session", admin.cookies["facecore_session"])
        assert send(reviewer, "/people/by-name", {"name": "x"}, token=token).status_code == 403
        assert send(admin, "/people/by-name", {"name": "x"}, token=token).status_code == 200


@pytest.mark.parametrize("path", [*PAGES, *FILES[:3]])
def test_pages_are_private_and_load_nothing_from_elsewhere(site, path):
    with site.client("viewer") as viewer:
        answer = viewer.get(f"/facecore{path}")
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "key", ["nothing.html", "%2e%2e/landing/secret.jpg", "activity/%2e%2e/%2e%2e/x", "%00", ""]
)
def test_other_keys_are_not_found(site, key):
    with site.client("viewer") as viewer:
        answer = viewer.get(f"/facecore/reports/{key}")
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_faulty_calls_end_in_a_sentence(site):
    with site.client("admin") as admin:
        token = token_of(admin)
        cases = [
            ("/people/999999/name", {"name": "X"}, 404, "no person"),
            ("/people/1/name", {"name": ""}, 400, "characters"),
            ("/people/1/split", {"face": "x"}, 400, "not a number"),
            ("/people/1/undo", {"decision": "999999"}, 404, "no decision"),
            ("/quarantine", {"action": "burn", "image": "1"}, 400, "release or discard"),
            ("/quarantine", {"action": "release", "reason": "x"}, 400, "1 to 200"),
            ("/overview/alerts/999999", {"reason": "x"}, 404, "no alert"),
            ("/people/by-name", {"name": "x" * 300_000}, 413, "bytes"),
        ]
        for path, fields, status, sentence in cases:
            answer = send(admin, path, fields, token=token)
            assert (answer.status_code, sentence in answer.text) == (status, True), answer.text
        for data, status, sentence in (
            (b"text", 400, "cannot be used"), (b"", 400, "Choose"), (b"x" * 2**21, 413, "bytes"),
        ):  # fmt: skip
            files = {"picture": ("a.jpg", data)}
            answer = send(admin, "/people/by-face", token=token, files=files)
            assert (answer.status_code, sentence in answer.text) == (status, True), answer.text
        for path in (
            "/people/999999", "/nowhere", "/quarantine?code=ugly", "/people?after=x",
            f"/people/{10**20}", f"/people?after={10**20}", f"/faces/{10**20}.jpg",
            f"/quarantine?before={10**20}", f"/quarantine/{10**20}.jpg", "/reports?kind=%00",
            "/quarantine?code=%00", f"/people/1?after={10**20}",
        ):  # fmt: skip
            assert admin.get(f"/facecore{path}").status_code in (400, 404, 422), path


# In the browser --------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_every_page_renders(open_tab, scheme, width):
    tab = open_tab("viewer", color_scheme=scheme, viewport={"width": width, "height": 800})
    for path in (*PAGES, f"/reports/view/activity/{DAY}_{DAY}.html"):
        page = tab.open(path)
        expect(page.locator("main")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark != "rgb(255, 255, 255)") == (scheme == "dark"), (path, dark)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.getAttribute('href')") == "#content", path
        nameless = "[...document.querySelectorAll('input:not([type=hidden]), button, select, img')]"
        nameless += ".filter(e => e.matches('img') ? !e.hasAttribute('alt') : !(e.labels?.length "
        nameless += "|| e.textContent.trim() || e.getAttribute('aria-label'))).length"
        assert page.evaluate(nameless) == 0, path
        shown = "[...document.images].filter(i => i.complete).every(i => i.naturalWidth > 0)"
        assert page.evaluate(shown), path


def test_the_pages_are_in_airflows_navigation_and_follow_its_theme(open_tab, site):
    tab = open_tab(None)
    page = tab.open("/people")
    page.fill("input[name=username]", site.logins["viewer"][0])
    page.fill("input[name=password]", site.logins["viewer"][1])
    page.click("button[type=submit]")
    page.wait_for_url("**/facecore/people")
    page.goto(site.url)
    page.get_by_role("link", name="Faces", exact=True).click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name="Models", exact=True).click()
    expect(frame.locator("h1")).to_have_text("Models")
    page.evaluate("localStorage.theme = 'dark'; document.documentElement.className = 'dark'")
    expect(frame.locator("html")).to_have_attribute("data-theme", "dark")
    frame.get_by_role("link", name="review_model").click()
    page.wait_for_url("**/dags/review_model*")
    tab.faults.clear()  # what Airflow's own page says of a DAG that no scheduler has read


def test_an_alert_is_dealt_with(open_tab, stores):
    with stores.catalog.transaction() as tx:
        evidence = {"silent_hours": 5, "<b>": "<script>"}
        alerts.raise_alert(tx, "source_silent", "source/pages", "warning", evidence, None)
    page = open_tab("reviewer").open("/overview")
    row = page.locator("tr", has_text="source/pages")
    row.get_by_placeholder("What was done").fill("cleaned the lens")
    row.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("status")).to_contain_text("dealt with")
    expect(page.locator("tr", has_text="source/pages")).to_have_count(0)
    assert (newest_entry(stores).actor, newest_entry(stores).reason) == (
        "reviewer", "cleaned the lens",
    )  # fmt: skip


def test_quarantined_pictures_are_released_and_discarded_for_good(open_tab, stores, run_pipeline):
    tab = open_tab("reviewer")

    def choose(code):
        page = tab.open(f"/quarantine?code={code}")
        (image_id,) = (int(box.input_value()) for box in page.locator("input[name=image]").all())
        page.get_by_label(f"image {image_id}").check()
        page.get_by_placeholder("Reason").fill(f"it is {code}")
        page.keyboard.press("Enter")  # neither released nor discarded
        return page, image_id

    page, dark = choose("too_dark")
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_role("status")).to_contain_text("Released: 1")
    page, white = choose("too_bright")
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("button", name="Really").click()
    expect(page.get_by_role("status")).to_contain_text("Discarded: 1")
    page, text = choose("not_an_image")
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_role("alert")).to_contain_text("no decoder")
    tab.faults.clear()  # browsers call the refusal (409) an error
    run_pipeline(stores)
    with stores.catalog.transaction() as tx:
        became = [images.get(tx, i).status for i in (dark, white, text)]
    assert became == [ImageStatus.EXTRACTED, ImageStatus.ERASED, ImageStatus.QUARANTINED]
    decided = tab.open("/quarantine").locator("table")
    expect(decided).to_contain_text("reviewer: it is too_dark")


def test_people_are_found_by_name_and_by_face(open_tab, stores, photos):
    page = open_tab("viewer").open("/people")
    page.get_by_label("The name starts with").fill("barack")
    page.get_by_role("button", name="Search").first.click()
    expect(page.locator(".tile a")).to_have_text(["Barack Obama"])
    obama = person(stores, "Barack").id
    entry = newest_entry(stores)
    assert (entry.actor, entry.action) == ("viewer", "search.name")
    assert entry.details == {"found": [obama]}
    upload = {"name": "o.jpg", "mimeType": "image/jpeg", "buffer": photos["obama3.jpg"]}
    page.get_by_label("Who is on this picture").set_input_files(upload)
    page.get_by_role("button", name="Search").last.click()
    expect(page.get_by_text("recognised")).to_be_visible(timeout=90_000)
    expect(page.locator("section a").first).to_have_text("Barack Obama")
    entry = newest_entry(stores)
    assert (entry.actor, entry.action) == ("viewer", "search.face")
    assert obama in entry.details["found"]
    assert "barack" not in page.url.lower()


def test_people_are_named_merged_split_and_all_that_undone(open_tab, stores, run_pipeline):
    tab = open_tab("reviewer")
    page = tab.open("/people?show=unnamed")
    links = page.locator(".tile a").all()
    first, second = (int(link.get_attribute("href").rsplit("/", 1)[1]) for link in links[:2])

    def done(words):
        expect(page.get_by_role("status")).to_contain_text(words)
        return int(tab.path().rsplit("/", 1)[1])

    def give_name(number, label):
        tab.open(f"/people/{number}")
        page.get_by_label("Name", exact=True).fill(label)
        page.get_by_role("button", name="Name", exact=True).click()

    give_name(first, "Rear Admiral")
    assert done("name is given") == first
    give_name(second, "Rear Admiral")
    expect(page.get_by_role("alert")).to_contain_text("called “Rear Admiral” already")
    page.get_by_role("button", name="merge").click()
    assert done("one person now") == first
    tab.faults.clear()  # the refusal of the name (409)

    page.locator("input[name=face]").first.check()
    page.get_by_placeholder("Reason").fill("another coat")
    page.keyboard.press("Enter")  # several buttons could be meant
    expect(page.get_by_role("status")).to_contain_text("one person now")
    assert newest_entry(stores).action != "not"
    page.get_by_role("button", name="Selected are somebody else").click()
    created = done("person of their own")
    assert created not in (first, second)

    tab.open(f"/people/{first}")
    page.get_by_role("button", name="Not this person").last.click()
    done("not this person")

    def faces():
        with stores.catalog.transaction() as tx:
            return [
                sorted(f.face_id for f in people_pages.faces_of(tx, p)) for p in (first, created)
            ]

    decided = faces()
    assert [len(found) for found in decided] == [6, 1]
    run_pipeline(stores)
    assert faces() == decided

    for _ in range(4):  # not, split, merge, name
        tab.open(f"/people/{first}")
        page.get_by_role("button", name="Undo").first.click()
        page.get_by_role("button", name="Really undo").first.click()
        done("is undone")
    assert newest_entry(stores).actor == "reviewer"
    tab.open(f"/people/{second}")
    expect(page.locator("h1")).to_have_text(f"Person {second}")

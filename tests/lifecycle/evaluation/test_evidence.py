import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from facecore.lifecycle.evaluation import compare, gates, render_evidence
from facecore.lifecycle.evaluation.cost import Cost, ModelCost


class Page(HTMLParser):
    """Tags are closed in order; what is loaded is remembered."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.alts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.sources += [given[key] for key in ("src", "href") if key in given]
        if tag == "img":
            self.alts.append(given["alt"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(evaluated, embedder_plots):
    champion, challenger = evaluated
    one = ModelCost("face-embedder/2", 1_300_000, 310_000_000, 93.0, 66.1, 110.5)
    cost = Cost(one, replace(one, name="face-embedder/1"), 1.0, 0.9, 1.1, 7, "cpu", 2)
    comparison = compare(champion, challenger)
    return render_evidence(
        challenger,
        champion,
        comparison=comparison,
        gate_results=gates(challenger, champion, comparison=comparison, cost=cost),
        cost=cost,
        plots=embedder_plots,
        facts={"Training run": "<script>alert(1)</script>"},
    ).decode()


def test_the_page_needs_nothing_else(page):
    found = Page(page)
    assert found.open == []
    assert found.sources
    assert all(source.startswith("data:image/png;base64,") for source in found.sources)
    assert "default-src 'none'" in page
    assert len(found.alts) == 9
    assert all(len(alt) > 60 for alt in found.alts)


def test_the_page_says_what_blocks_and_by_how_much(page, evaluated):
    text = re.sub(r"<[^>]+>", " ", page)
    assert "Blocked by: accuracy." in text
    assert "only with a reason" in text
    assert "face-embedder/2 beside face-embedder/1" in text
    assert evaluated[1].snapshot in text
    assert "1.3 million" in text
    assert "0.31 GFLOP" in text
    assert "rule of three" in text
    assert str(evaluated[1].verification.eer) in text


def test_text_from_outside_is_escaped(page):
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_detector_alone_has_a_page_too(detected):
    page = render_evidence(detected[0], plots=()).decode()
    assert "face-detector/1" in page
    assert "AP@[.5:.95]" in page
    assert "Beside the champion" not in page
    assert Page(page).open == []

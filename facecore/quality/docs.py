"""Runs suites in Great Expectations and publishes what it found as pages for people.

Great Expectations' own pages take their style and their index table from seven CDNs, so that
offline they are bare and the index is empty. Here its result pages are kept, with scripts and
remote references cut out and one small style sheet inside, and the index is our own. Nothing
is loaded from anywhere: the folder can be opened from a disk or served from a bucket.
"""

from __future__ import annotations

import html
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from facecore.errors import QualityGateFailed
from facecore.quality.suites import BATCH_FAILURES
from facecore.stages.reasons import describe

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

_SITE = "facecore"
_REMOTE = re.compile(
    r"<script\b.*?</script>|<style\b.*?</style>|<link\b[^>]*>|<footer\b.*?</footer>"
    r"|<img\b[^>]*https?:[^>]*>|<button\b.*?</button>|<a\b[^>]*data-toggle=.*?</a>",
    re.DOTALL | re.IGNORECASE,
)
_ACTIONS = re.compile(
    r'<div class="card mb-3">\s*<div class="card-header p-2">\s*<strong>Actions</strong>.*?'
    r"(?=<div class=\"card d-md-block)",
    re.DOTALL,
)
_SHOWN_ROWS = 500


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """One line of the index page."""

    image_id: int
    source: str
    reasons: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Page:
    """What the index page shows."""

    statistics: Mapping[str, Any]
    failures: Mapping[str, Mapping[str, float]]
    rejected: list[RejectedRow]


class Checks:
    """One in-memory Great Expectations project: run suites, then publish them together."""

    def __init__(self, run_name: str, moment: datetime) -> None:
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        # the name becomes a folder of the pages Great Expectations builds
        self._run_name, self._moment = re.sub(r"[^\w .:+-]", "_", run_name), moment
        self._context = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False)
        for site in self._context.get_site_names():  # it comes with one, in a temporary folder
            self._context.delete_data_docs_site(site)
        self._source = self._context.data_sources.add_pandas("catalogue")

    def run(
        self, name: str, suite: ExpectationSuite, table: pd.DataFrame
    ) -> dict[str, list[dict[str, Any]]]:
        """Evaluate a suite over a table.

        Returns:
            `meta["code"]` of each expectation → the rows it did not hold for: the judged
            column and the table's first column (`image_id` or `source`).

        Raises:
            QualityGateFailed: an expectation could not be evaluated.
        """
        import great_expectations as gx
        from great_expectations.core.run_identifier import RunIdentifier

        # Great Expectations writes values into its pages as they are; sources come from outside.
        safe = table.map(lambda value: html.escape(value) if isinstance(value, str) else value)
        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=self._context.suites.add(suite))
        )
        result = definition.run(
            batch_parameters={"dataframe": safe},
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": [str(table.columns[0])],
            },
            run_id=RunIdentifier(run_name=self._run_name, run_time=self._moment),
        )
        found: dict[str, list[dict[str, Any]]] = {}
        for one in result.results:
            code = str(one.expectation_config.meta["code"])
            if "element_count" not in one.result:
                raise QualityGateFailed(
                    f"the expectation for {code} could not be evaluated",
                    statistics={"rows": len(table)},
                    failed={code: str(one.exception_info)},
                )
            found[code] = [
                {k: html.unescape(v) if isinstance(v, str) else v for k, v in row.items()}
                for row in one.result.get("unexpected_index_list") or []
            ]
        return found

    def publish(self, folder: Path, page: Page) -> Path:
        """Write the pages and return the index page's path."""
        with tempfile.TemporaryDirectory(prefix="facecore-docs-") as scratch:
            self._context.add_data_docs_site(
                _SITE,
                {
                    "class_name": "SiteBuilder",
                    "show_how_to_buttons": False,
                    "store_backend": {
                        "class_name": "TupleFilesystemStoreBackend",
                        "base_directory": scratch,
                    },
                },
            )
            self._context.build_data_docs(site_names=[_SITE])
            pages = _copy_pages(Path(scratch), folder)
        index = folder / "index.html"
        index.write_text(_index(page, pages, self._run_name, self._moment), encoding="utf-8")
        return index


def _copy_pages(built: Path, folder: Path) -> dict[str, str]:
    """Offline copies under plain names. Returns title → file name."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("validations-*.html"), *folder.glob("expectations-*.html")):
        old.unlink()
    pages: dict[str, str] = {}
    for kind, title in (("validations", "Results"), ("expectations", "Rules")):
        for path in sorted((built / kind).rglob("*.html")):
            # validations/<suite>/<run>/<time>/<batch>.html, expectations/<suite>.html
            suite = path.relative_to(built / kind).with_suffix("").parts[0]
            name = f"{kind}-{suite}.html"
            text = _offline(path.read_text(encoding="utf-8"))
            (folder / name).write_text(text, encoding="utf-8")
            pages[f"{title}: {suite}"] = name
    return pages


def _offline(page: str) -> str:
    page = _REMOTE.sub("", _ACTIONS.sub("", page))
    page = re.sub(r'href="(?:\.\./)*index\.html"', 'href="index.html"', page)
    page = re.sub(
        r'href="(?:\.\./)*expectations/(\w+)\.html"', r'href="expectations-\1.html"', page
    )
    return page.replace("</head>", f"<style>{_style()}</style></head>", 1)


def _style() -> str:
    return resources.files("facecore.quality").joinpath("docs.css").read_text(encoding="utf-8")


def _index(page: Page, pages: Mapping[str, str], run_name: str, moment: datetime) -> str:
    from jinja2 import Environment

    source = resources.files("facecore.quality").joinpath("docs.html.j2")
    template = Environment(autoescape=True).from_string(source.read_text(encoding="utf-8"))
    return template.render(
        style=_style(),
        run_name=run_name,
        moment=f"{moment:%Y-%m-%d %H:%M} UTC",
        statistics=page.statistics,
        failures=page.failures,
        failure_text=BATCH_FAILURES,
        describe=describe,
        rejected=page.rejected[:_SHOWN_ROWS],
        hidden=max(0, len(page.rejected) - _SHOWN_ROWS),
        pages=pages,
    )

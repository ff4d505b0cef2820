"""Object storage against a real S3 server."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from minio import Minio
from pydantic import SecretStr

from facecore.config import BUCKETS, S3Settings
from facecore.errors import (
    ConfigError,
    CredentialsRejected,
    KeyRefused,
    NotFound,
    ObjectMissing,
    ObjectStoreUnavailable,
    ObjectTooLarge,
    StorageFull,
)
from facecore.stores import conditional_delete
from facecore.stores.objects import ObjectStore


@pytest.fixture
def objects(s3: S3Settings) -> ObjectStore:
    """The platform's buckets; landing is empty."""
    store = ObjectStore(s3)
    store.ensure_buckets()
    for item in list(store.list("landing")):
        store.delete("landing", item.key)
    return store


def test_bytes_come_back_as_they_went_in(objects):
    data = os.urandom(100_000)
    objects.put("landing", "cam/1.jpg", data, content_type="image/jpeg")
    assert objects.get("landing", "cam/1.jpg") == data
    info = objects.stat("landing", "cam/1.jpg")
    assert (info.key, info.size) == ("cam/1.jpg", 100_000)
    assert abs(info.last_modified - datetime.now(UTC)) < timedelta(minutes=5)
    assert objects.list("landing").__next__().etag == info.etag != ""


def test_a_digest_is_read_in_pieces(objects):
    data = os.urandom(3_000_001)
    objects.put("landing", "big", data)
    assert objects.sha256("landing", "big") == hashlib.sha256(data).hexdigest()
    with pytest.raises(ObjectMissing):
        objects.sha256("landing", "no/such")


@pytest.mark.parametrize(
    "data", [b"not packed", gzip.compress(b"packed" * 1000)], ids=["plain", "packed"]
)
def test_the_stored_bytes_are_read_whatever_the_content_encoding_says(objects, data):
    objects.put("landing", "g", data, metadata={"Content-Encoding": "gzip"})
    info, read = objects.read("landing", "g", max_bytes=len(data))
    assert (info.size, read) == (len(data), data)
    assert objects.get_range("landing", "g", 2, 5) == data[2:7]
    assert objects.sha256("landing", "g") == hashlib.sha256(data).hexdigest()


def test_an_empty_object_is_an_object(objects):
    objects.put("landing", "empty", b"")
    assert objects.get("landing", "empty", max_bytes=10) == b""
    assert objects.stat("landing", "empty").size == 0


@pytest.mark.parametrize(
    "key",
    [
        "with space/a b.jpg",
        "ünïcode/日本/写真 é.jpg",
        "odd?x#y%20z+&=;@'(1)[2]!~$,*.jpg",
        "dots..in/..names/...jpg",
        "line\nbreak.jpg",
    ],
)
def test_any_key_that_names_one_object_works(objects, key):
    objects.put("landing", key, b"picture")
    assert [item.key for item in objects.list("landing")] == [key]
    assert objects.get("landing", key) == b"picture"
    objects.copy("landing", key, "quarantine", key)
    assert objects.get("quarantine", key) == b"picture"
    objects.delete("landing", key)
    objects.delete("quarantine", key)
    assert not objects.exists("landing", key)


@pytest.mark.parametrize("key", ["a/../b", "..", "a/..", "./a", "", "x" * 1025, "a\0b", "\udce9"])
def test_a_key_that_no_store_can_hold_safely_is_refused(objects, key):
    for call in (
        lambda: objects.put("landing", key, b"x"),
        lambda: objects.get("landing", key),
        lambda: objects.stat("landing", key),
        lambda: objects.delete("landing", key),
        lambda: objects.copy("landing", key, "images", "a"),
        lambda: objects.copy("landing", "a", "images", key),
    ):
        with pytest.raises(KeyRefused) as caught:
            call()
        assert caught.value.key == key
    assert list(objects.list("landing")) == []


def test_metadata_of_any_characters_is_kept(objects):
    given = {"source": "café – door 1", "captured-at": "2026-03-01T10:00:00+01:00"}
    objects.put("landing", "m", b"x", metadata=given)
    assert objects.stat("landing", "m").metadata == given
    objects.copy("landing", "m", "images", "m")
    assert objects.stat("images", "m").metadata == given


@pytest.mark.parametrize(
    "value", ["=?bogus?b?AAAA?=", "=?utf-8?b?/w==?=", "=?us-ascii?q?=e9?=", "=?utf-8?b?A?="]
)
def test_metadata_that_only_looks_encoded_stays_as_it_is(objects, value):
    objects.put("landing", "m", b"x", metadata={"source": value})
    assert objects.stat("landing", "m").metadata == {"source": value}
    assert objects.read("landing", "m")[0].metadata == {"source": value}


def test_what_is_missing_is_named(objects, s3):
    for call in (
        lambda: objects.get("landing", "no/such"),
        lambda: objects.stat("landing", "no/such"),
        lambda: objects.copy("landing", "no/such", "images", "x"),
    ):
        with pytest.raises(ObjectMissing) as caught:
            call()
        assert (caught.value.bucket, caught.value.key) == (s3.bucket("landing"), "no/such")
        assert not caught.value.retryable
    assert not objects.exists("landing", "no/such")
    objects.delete("landing", "no/such")


def test_a_large_object_is_not_read(objects):
    objects.put("landing", "big", bytes(2048))
    with pytest.raises(ObjectTooLarge) as caught:
        objects.get("landing", "big", max_bytes=2047)
    assert (caught.value.size, caught.value.limit) == (2048, 2047)
    assert len(objects.get("landing", "big", max_bytes=2048)) == 2048


def test_listing_continues_after_any_key_without_loss(objects):
    keys = ["Z", "a b/1", "a-b/1", "a.b", "a/1", "a/2", "b/c.x", "b/c/d.x", "b/c/d/1", "é/1"]
    for key in keys:
        objects.put("landing", key, b"x")
    seen = [item.key for item in objects.list("landing")]
    assert sorted(seen) == sorted(keys)
    for position, key in enumerate(seen):
        rest = [item.key for item in objects.list("landing", start_after=key)]
        assert rest == seen[position + 1 :]
    assert [item.key for item in objects.list("landing", limit=3)] == seen[:3]
    assert {item.key for item in objects.list("landing", prefix="b/c/")} == {"b/c/d.x", "b/c/d/1"}


def test_a_listing_reads_further_pages(objects):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: objects.put("landing", f"p/{n:04}", b""), range(1003)))
    assert sum(1 for _ in objects.list("landing")) == 1003
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: objects.delete("landing", f"p/{n:04}"), range(1003)))


def test_folder_markers_are_not_listed(objects):
    objects.put("landing", "folder/", b"")
    objects.put("landing", "folder/file", b"x")
    assert [item.key for item in objects.list("landing")] == ["folder/file"]


def test_usage_counts_and_says_when_it_stopped(objects):
    for name in "abc":
        objects.put("landing", name, b"12345")
    usage = objects.usage("landing")
    assert (usage.objects, usage.bytes, usage.complete) == (3, 15, True)
    usage = objects.usage("landing", at_most=2)
    assert (usage.objects, usage.bytes, usage.complete) == (2, 10, False)


def test_ensuring_buckets_twice_keeps_what_they_hold(objects):
    objects.put("landing", "kept", b"x")
    objects.ensure_buckets()
    assert objects.get("landing", "kept") == b"x"
    for name in BUCKETS:
        assert list(objects.list(name, limit=0)) == []


def test_a_missing_bucket_says_how_to_make_it(s3):
    store = ObjectStore(s3.model_copy(update={"bucket_prefix": "nowhere-"}))
    for call in (
        lambda: store.put("images", "a", b"x"),
        lambda: store.get("images", "a"),
        lambda: list(store.list("images")),
    ):
        with pytest.raises(NotFound, match=r"nowhere-images.*facecore up"):
            call()


@pytest.mark.parametrize(
    "wrong", [{"access_key": "nobody"}, {"secret_key": "not-the-secret"}], ids=["user", "secret"]
)
def test_wrong_credentials_are_said_and_never_shown(objects, s3, wrong):
    refused = ObjectStore(S3Settings(**{**s3.model_dump(), **wrong}))
    for call in (
        refused.ensure_buckets,
        lambda: refused.get("landing", "a"),
        lambda: refused.stat("landing", "a"),
        lambda: refused.put("landing", "a", b"x"),
        lambda: refused.delete("landing", "a"),
        lambda: list(refused.list("landing")),
    ):
        with pytest.raises(CredentialsRejected) as caught:
            call()
        assert caught.value.store == "S3"
        assert "not-the-secret" not in str(caught.value)
        assert s3.secret_key.get_secret_value() not in str(caught.value)


def _port_that_nobody_serves() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_unreachable_server_is_an_error_that_can_be_retried():
    store = ObjectStore(S3Settings(endpoint=f"http://127.0.0.1:{_port_that_nobody_serves()}"))
    for call in (
        store.ensure_buckets,
        lambda: store.get("landing", "a"),
        lambda: store.put("landing", "a", b"x"),
        lambda: list(store.list("landing")),
    ):
        with pytest.raises(ObjectStoreUnavailable, match="facecore status") as caught:
            call()
        assert caught.value.retryable


def test_a_server_that_hangs_up_is_unavailable_not_an_endless_wait():
    """Accepts and closes every connection, as a proxy without its server does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        store = ObjectStore(S3Settings(endpoint=f"http://127.0.0.1:{server.getsockname()[1]}"))
        with pytest.raises(ObjectStoreUnavailable):
            store.get("landing", "a")
        server.shutdown(socket.SHUT_RDWR)


def test_a_full_disk_is_told_from_a_server_that_is_down(full_s3):
    store = ObjectStore(full_s3)
    store.ensure_buckets()

    def fill() -> None:
        for number in range(60):
            store.put("images", f"{number}", os.urandom(300_000))

    with pytest.raises(StorageFull) as caught:
        fill()
    assert caught.value.store == "S3"
    assert caught.value.retryable
    assert len(store.get("images", "0")) == 300_000, "what was stored can be read"


@pytest.mark.parametrize("endpoint", ["127.0.0.1:8333", "ftp://host", "http://", "http://h/path"])
def test_an_endpoint_that_is_no_address_is_refused(endpoint):
    with pytest.raises(ConfigError, match="FACECORE_S3__ENDPOINT"):
        ObjectStore(S3Settings(endpoint=endpoint))


@pytest.mark.parametrize("endpoint", ["http://me:hunter2@h:1", "https://hunter2@h", "me:hunter2@h"])
def test_a_password_in_the_endpoint_is_refused_and_never_shown(endpoint):
    with pytest.raises(ConfigError, match="FACECORE_S3__SECRET_KEY") as caught:
        ObjectStore(S3Settings(endpoint=endpoint))
    assert "hunter2" not in str(caught.value)


def test_an_unknown_bucket_name_is_refused(objects):
    with pytest.raises(ConfigError, match="known are"):
        objects.put("elsewhere", "a", b"x")


def test_a_forked_process_opens_its_own_connections(objects):
    objects.put("landing", "shared", b"x" * 1000)
    child = os.fork()
    if child == 0:
        right = all(objects.get("landing", "shared") == b"x" * 1000 for _ in range(20))
        os._exit(0 if right else 1)
    for _ in range(20):
        assert objects.get("landing", "shared") == b"x" * 1000
    assert os.waitpid(child, 0)[1] == 0


def test_many_threads_share_one_store(objects):
    bodies = {f"t/{number}": os.urandom(2000) for number in range(64)}
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda key: objects.put("landing", key, bodies[key]), bodies))
        got = dict(
            zip(bodies, pool.map(lambda key: objects.get("landing", key), bodies), strict=True)
        )
    assert got == bodies


class TestDeletingVersions:
    """An object is removed as long as it is what was read."""

    KEYS = (
        "cam/1.jpg",
        "ünï/日本 é&<>'\".jpg",
        "odd?x#y%20z+&=;@'(1)[2]!~$,*.jpg",
        "line\nbreak",
    )

    @pytest.fixture(params=["by the server", "by us"])
    def store(self, objects: ObjectStore, request, monkeypatch) -> ObjectStore:
        """With conditional deletes, and as on a server that does not know them."""
        if request.param == "by us":
            monkeypatch.setattr(objects, "_deletes_by_etag", False)
        return objects

    def test_what_is_unchanged_goes_and_what_was_replaced_stays(self, store):
        for key in self.KEYS:
            store.put("landing", key, b"old")
            store.put("landing", f"{key}2", b"old")
        listed = [(item.key, item.etag) for item in store.list("landing")]
        assert len(listed) == 2 * len(self.KEYS)
        for key in self.KEYS:
            store.put("landing", key, b"new")
        store.delete_versions("landing", listed)
        assert sorted(item.key for item in store.list("landing")) == sorted(self.KEYS)
        assert all(store.get("landing", key) == b"new" for key in self.KEYS)

    def test_what_is_gone_already_is_fine(self, store):
        store.put("landing", "there", b"x")
        etag = store.stat("landing", "there").etag
        store.delete_versions("landing", [("gone", etag), ("there", etag), ("line\ngone", etag)])
        assert list(store.list("landing")) == []
        store.delete_versions("landing", [])

    def test_more_than_one_request_holds(self, store):
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda n: store.put("landing", f"p/{n:04}", b"x"), range(1003)))
        store.delete_versions("landing", [(i.key, i.etag) for i in store.list("landing")])
        assert list(store.list("landing")) == []

    def test_the_platforms_own_server_decides_by_itself(self, objects):
        objects.put("landing", "a", b"x")
        objects.delete_versions("landing", [("a", objects.stat("landing", "a").etag)])
        assert objects._deletes_by_etag is True
        assert not list(objects.list("crops", prefix=".facecore/"))

    def test_a_server_that_refuses_is_told(self, objects, s3):
        wrong = ObjectStore(s3.model_copy(update={"secret_key": SecretStr("wrong")}))
        with pytest.raises(CredentialsRejected):
            wrong.delete_versions("landing", [("a", "0" * 32)])

    @pytest.mark.parametrize(
        ("code", "error"),
        [("AccessDenied", CredentialsRejected), ("InternalError", ObjectStoreUnavailable)],
    )
    def test_one_object_that_is_not_removed_is_told(self, code, error, monkeypatch):
        answer = f"<DeleteResult><Error><Code>{code}</Code><Key>b</Key></Error></DeleteResult>"
        with _answering({"POST": (200, answer.encode())}) as address:
            store = ObjectStore(S3Settings(endpoint=f"http://{address}"))
            monkeypatch.setattr(store, "_deletes_by_etag", True)
            with pytest.raises(error, match=code):
                store.delete_versions("landing", [("a", "1"), ("b", "2")])

    @pytest.mark.parametrize(
        "answer",
        [
            (200, b'<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'),
            (501, b"<Error><Code>NotImplemented</Code><Message>no</Message></Error>"),
            (400, b"<Error><Code>MalformedXML</Code><Message>no</Message></Error>"),
        ],
    )
    def test_a_server_without_them_is_not_relied_on(self, answer):
        """Another product: it removes whatever it is told to, or knows no such request."""
        with _answering({"POST": answer}) as address:
            client = Minio(address, "key", "secret", secure=False, region="us-east-1")
            assert not conditional_delete.is_honoured(client, "crops")


@contextmanager
def _answering(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """An HTTP server with one answer for each method, and 200 for the others."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answers.get(self.command, (200, b""))
            self.send_response(status)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()

"""Every fault of a foreign server passes or is final, and both clients say the same of it."""

import contextlib
import errno
import http.client
import shutil
import socket
import ssl
import subprocess
from functools import partial

import pytest
import urllib3

from heritage_ledger.content import faults as module
from heritage_ledger.content import kubo_rpc
from heritage_ledger.content.cluster import Cluster
from heritage_ledger.content.exchange import Exchange, Waits
from heritage_ledger.content.faults import PASSING_STATUSES, Fault, fault_of
from heritage_ledger.content.gateway import Gateway
from heritage_ledger.content.http import Service, parse_address
from heritage_ledger.content.kubo_rpc import KuboRpc
from heritage_ledger.content.pinning import PinningService
from heritage_ledger.errors import ExitCode, HeritageError, TemporaryFailure, UsageError
from heritage_ledger.federation.client import Answer, Client, check_status, errors
from heritage_testkit.tls import Authority, speaking

WAITS = Waits(connect=5.0, headers=5.0, silent=5.0)


def tls(reason):
    error = ssl.SSLError(1, f"[SSL: {reason}] said")
    error.reason = reason
    return error


FAULTS = {
    "refused": (ConnectionRefusedError(errno.ECONNREFUSED, "x"), Fault.AWAY),
    "reset": (ConnectionResetError(errno.ECONNRESET, "x"), Fault.AWAY),
    "unreachable": (OSError(errno.EHOSTUNREACH, "x"), Fault.AWAY),
    "no network": (OSError(errno.ENETUNREACH, "x"), Fault.AWAY),
    "no such name": (socket.gaierror(socket.EAI_NONAME, "x"), Fault.AWAY),
    "no name server": (socket.gaierror(socket.EAI_AGAIN, "x"), Fault.AWAY),
    "pipe": (BrokenPipeError(errno.EPIPE, "x"), Fault.AWAY),
    "half an answer": (http.client.IncompleteRead(b"x", 5), Fault.AWAY),
    "no answer": (http.client.RemoteDisconnected("x"), Fault.AWAY),
    "no status": (http.client.BadStatusLine("x"), Fault.AWAY),
    "cut in TLS": (ssl.SSLEOFError(8, "x"), Fault.AWAY),
    "nobody knows": (ValueError("x"), Fault.AWAY),
    "late": (TimeoutError("x"), Fault.LATE),
    "late in a library": (urllib3.exceptions.ReadTimeoutError(None, "", "x"), Fault.LATE),
    "another certificate": (ssl.SSLCertVerificationError(1, "x"), Fault.UNTRUSTED),
    **{reason: (tls(reason), Fault.NO_TLS) for reason in sorted(module._NO_TLS)},
    **{
        f"a proxy that says {status}": (OSError(f"Tunnel connection failed: {status} x"), Fault.PROXY)
        for status in (401, 403, 405, 407)
    },
    **{
        f"a proxy that says {status}": (OSError(f"Tunnel connection failed: {status} x"), Fault.AWAY)
        for status in (429, 500, 502, 503, 504)
    },
    "a broken record": (tls("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), Fault.AWAY),
}


def wrapped(error):
    """The same as libraries hand it on."""
    yield error
    yield urllib3.exceptions.MaxRetryError(None, "/", error)
    outer = urllib3.exceptions.NewConnectionError(None, "x")
    outer.__cause__ = error
    yield outer


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_passes_or_is_final_for_both_clients(name):
    error, fault = FAULTS[name]
    service = Service("Kubo", parse_address("http://127.0.0.1:1"), None)  # nothing is asked of it
    for one in wrapped(error):
        assert fault_of(one) is fault
        for raising in (partial(errors, "https://x.example"), service.errors):
            with pytest.raises(HeritageError) as caught, raising(Exchange(WAITS)):
                raise one
            assert isinstance(caught.value, TemporaryFailure) == fault.passes, caught.value
            assert (caught.value.exit_code is ExitCode.TEMPORARY) == fault.passes


@pytest.mark.parametrize("status", range(300, 600))
def test_statuses_pass_or_are_final(status):
    with pytest.raises(HeritageError) as caught:
        check_status(Answer(status, {}, b""), "https://x.example")
    assert isinstance(caught.value, TemporaryFailure) == (status in PASSING_STATUSES)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("house"))


def asks(url, ca_file):
    """Everything here that speaks TLS to others, asked once."""
    address = parse_address(url, ca_file=ca_file)
    cid = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"
    for name, make, ask in (
        (
            "peers",
            lambda: Client(allow_private=True, waits=WAITS, ca_file=ca_file),
            lambda client: client.get(url),
        ),
        ("Kubo by its library", lambda: KuboRpc(address, None, WAITS), lambda kubo: kubo.version()),
        (
            "Kubo",
            lambda: KuboRpc(address, None, WAITS),
            lambda kubo: kubo._service.call("POST", "/api/v0/version"),
        ),
        ("Cluster", lambda: Cluster(address, None, WAITS), lambda one: one._service.call("GET", "/id")),
        (
            "pinning",
            lambda: PinningService(address, None, waits=WAITS),
            lambda one: one._service.call("GET", f"/pins?cid={cid}"),
        ),
        (
            "gateway",
            lambda: Gateway(address, None, WAITS),
            lambda one: one._service.call("GET", f"/ipfs/{cid}"),
        ),
    ):
        with contextlib.closing(make()) as client:
            yield name, partial(ask, client)


@pytest.mark.parametrize("how", ["ca_file", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_an_authority_of_the_house_is_believed_by_all_alike(house, tmp_path, monkeypatch, how):
    ca_file = str(house.file) if how == "ca_file" else None
    if how == "SSL_CERT_FILE":
        monkeypatch.setenv(how, str(house.file))
    if how == "SSL_CERT_DIR":
        shutil.copy(house.file, tmp_path)
        subprocess.run(["openssl", "rehash", tmp_path], check=True)
        monkeypatch.setenv(how, str(tmp_path))
    with speaking(house.issue()) as url:
        for name, ask in asks(url, ca_file):
            assert ask() is not None, name


@pytest.mark.parametrize("what", ["a stranger's", "run out", "for another host"])
def test_certificates_that_are_not_trusted_are_final(house, tmp_path, what):
    certificate = {
        "a stranger's": lambda: Authority(tmp_path / "stranger").issue(),
        "run out": lambda: house.issue(days=-1),
        "for another host": lambda: house.issue(host="other.example"),
    }[what]()
    with speaking(certificate) as url:
        for name, ask in asks(url, str(house.file)):
            with pytest.raises(HeritageError) as caught:
                ask()
            assert caught.value.code == "tls-untrusted", name
            assert caught.value.exit_code is not ExitCode.TEMPORARY
            assert "certif" in (caught.value.found or "").lower() or "hostname" in caught.value.found.lower()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize("how", ["plain HTTP", "TLS 1.1"])
def test_no_tls_in_common_is_final(house, how):
    with speaking(
        None if how == "plain HTTP" else house.issue(),
        newest=None if how == "plain HTTP" else ssl.TLSVersion.TLSv1_1,
    ) as url:
        for name, ask in asks(url, str(house.file)):
            with pytest.raises(HeritageError) as caught:
                ask()
            assert caught.value.code == "tls-refused", (name, caught.value)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_that_holds_no_certificates_is_named(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    address = parse_address("https://x", ca_file=str(path))
    for make in (lambda: Client(ca_file=str(path)), lambda: KuboRpc(address)):
        with pytest.raises(UsageError) as caught:
            make()
        assert (caught.value.code, caught.value.path) == ("tls-ca-file", str(path))


def test_a_kubo_without_its_library_is_refused_with_the_words_to_get_it(monkeypatch):
    monkeypatch.setattr(kubo_rpc, "ipfshttpclient", None)
    with pytest.raises(UsageError) as caught:
        KuboRpc(parse_address("http://127.0.0.1:5001"))
    assert caught.value.code == "engine-needs-extra"
    assert "pip install 'heritage-ledger[kubo]'" in caught.value.advice

"""What is written can be verified: every algorithm's name, in every spelling, is refused or passes."""

from __future__ import annotations

import hashlib

import bagit
import pytest

from heritage_ledger import Ledger
from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.errors import UsageError
from heritage_ledger.fixity.verdict import Outcome

REGISTERED = {
    "named information": "sha-256 sha-256-128 sha-256-120 sha-256-96 sha-256-64 sha-256-32 sha-384 sha-512 "
    "sha3-224 sha3-256 sha3-384 sha3-512 blake2s-256 blake2b-256 blake2b-512 k12-256 k12-512",
    "textual names": "md2 md5 sha-1 sha-224 sha-256 sha-384 sha-512 shake128 shake256 SHA-512/256",
    "other bag software": "adler32 crc32 sha512256 sha512_256 SHA3_512 blake2b blake3 whirlpool tiger",
    "nonsense": "sha512 \u0455ha256 ../x sha-256\n",
}
NAMES = sorted({*hashlib.algorithms_available, *" ".join(REGISTERED.values()).split(" "), ""})


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    home = tmp_path_factory.mktemp("algorithms") / "home"
    with Ledger.init(home, institution="Museum", origin="museum.example/ledger/1", passphrase=None) as opened:
        yield opened


@pytest.mark.parametrize("name", NAMES)
def test_ingest_refuses_the_name_or_verify_passes(ledger, tmp_path, name):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_text("a")
    before = sorted(ledger.home.root.rglob("*"))
    try:
        receipt = ledger.ingest(source, algorithms=[name])
    except UsageError as error:
        code = error.code
    else:
        code = None
    if code is not None:
        assert (code, sorted(ledger.home.root.rglob("*"))) == ("bag-algorithm", before)
        return
    manifests = [path.name for path in receipt.bag_path.glob("*manifest-*.txt")]
    assert all(name.partition("-")[2].removesuffix(".txt").isalnum() and name.islower() for name in manifests)
    report = validate_bag(receipt.bag_path)
    assert (report.findings, len(report.algorithms)) == ((), len(manifests) // 2)
    assert all(verdict.outcome is Outcome.PASS for verdict in ledger.verify([receipt.asset]))


def test_other_software_reads_the_names_too(ledger, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    receipt = ledger.ingest(tmp_path / "a.txt", algorithms=["SHA-256", "sha_1", "md5", "sha-256"])
    assert set(bagit.Bag(str(receipt.bag_path)).algorithms) == {"sha512", "sha256", "sha1", "md5"}
    assert bagit.Bag(str(receipt.bag_path)).is_valid()

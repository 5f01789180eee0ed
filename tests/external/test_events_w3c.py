"""Events against what others publish: W3C's proof vectors and the RFC 8785 data."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
import rfc8785

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.events.canonical import format_canonical, parse_canonical
from heritage_ledger.events.proof import (
    format_proof_value,
    open_document,
    parse_proof_value,
    sign_document,
    signing_input,
)
from heritage_ledger.identity.didkey import (
    decode_base58btc,
    encode_base58btc,
    parse_multikey,
    parse_verification_method,
)
from heritage_ledger.identity.keys import Ed25519Signer
from heritage_testkit.outside import vectors

pytestmark = pytest.mark.external


@pytest.fixture(name="suite", scope="module")
def fixture_suite():
    return vectors("vc-di-eddsa") / "eddsa-jcs-2022"


@pytest.fixture(name="pair", scope="module")
def fixture_pair():
    return json.loads((vectors("vc-di-eddsa") / "keyPair.json").read_text(encoding="utf-8"))


@pytest.fixture(name="signer", scope="module")
def fixture_signer(pair):
    secret = decode_base58btc(pair["privateKeyMultibase"][1:])
    assert secret[:2] == b"\x80\x26"
    return Ed25519Signer.from_seed(secret[2:])


def _text(path):
    return path.read_text(encoding="utf-8").strip()


def _json(path):
    return json.loads(path.read_text(encoding="utf-8"))


class TestEddsaJcs2022:
    """Each intermediate value that the suite publishes."""

    def test_key_pair(self, pair, signer):
        assert signer.public == parse_multikey(pair["publicKeyMultibase"])

    def test_document_bytes(self, suite):
        unsigned = _json(suite.parent / "unsigned.json")
        assert format_canonical(unsigned) == _text(suite / "canonDocJCS.txt").encode()

    def test_document_hash(self, suite):
        document = _text(suite / "canonDocJCS.txt").encode()
        assert sha256(document).hexdigest() == _text(suite / "docHashJCS.txt")

    def test_option_bytes(self, suite):
        options = _json(suite / "proofConfigJCS.json")
        assert format_canonical(options) == _text(suite / "proofCanonJCS.txt").encode()

    def test_option_hash(self, suite):
        options = _text(suite / "proofCanonJCS.txt").encode()
        assert sha256(options).hexdigest() == _text(suite / "proofHashJCS.txt")

    def test_combined_hash(self, suite):
        options = _text(suite / "proofCanonJCS.txt").encode()
        document = _text(suite / "canonDocJCS.txt").encode()
        assert signing_input(options, document).hex() == _text(suite / "combinedHashJCS.txt")

    def test_signature(self, suite, signer):
        combined = bytes.fromhex(_text(suite / "combinedHashJCS.txt"))
        assert signer.sign(combined).hex() == _text(suite / "sigHexJCS.txt")

    def test_proof_value(self, suite):
        signature = bytes.fromhex(_text(suite / "sigHexJCS.txt"))
        text = _text(suite / "sigBTC58JCS.txt")
        assert format_proof_value(signature) == text
        assert parse_proof_value(text) == signature

    def test_signed_document(self, suite, signer):
        signed = _json(suite / "signedJCS.json")
        unsigned = _json(suite.parent / "unsigned.json")
        opened = open_document(signed)
        assert opened.document == unsigned
        assert opened.verification_key == signer.public
        assert sign_document(unsigned, signer, created=signed["proof"]["created"]) == signed

    def test_altered_documents(self, suite):
        signed = _json(suite / "signedJCS.json")
        with pytest.raises(EvidenceInvalid) as caught:
            open_document({**signed, "name": "Another Credential"})
        assert caught.value.code == "signature-invalid"
        appended = [*signed["@context"], {"alumniOf": "https://evil.example/enemyOf"}]
        with pytest.raises(EvidenceInvalid) as caught:
            open_document({**signed, "@context": appended})
        assert caught.value.code == "proof-context"


@pytest.mark.parametrize("name", ["signedProofSet2.json", "signedProofChain1.json", "signedProofChain2.json"])
def test_proof_sets_and_chains_are_refused_by_name(name):
    signed = _json(vectors("vc-di-eddsa") / "proof-set-chain" / name)
    with pytest.raises(EvidenceInvalid) as caught:
        open_document(signed)
    assert caught.value.code == "proof-count"


def test_a_proof_with_an_id_and_no_context_is_of_another_shape():
    signed = _json(vectors("vc-di-eddsa") / "proof-set-chain" / "signedProofSet1.json")
    with pytest.raises(EvidenceInvalid) as caught:
        open_document(signed)
    assert caught.value.code == "proof-shape"


@pytest.mark.parametrize(
    "name", ["eddsa-rdfc-2022/signedDataInt.json", "Ed25519Signature2020/signedEdSig.json"]
)
def test_other_suites_are_refused(name):
    with pytest.raises(EvidenceInvalid) as caught:
        open_document(_json(vectors("vc-di-eddsa") / name))
    assert caught.value.code == "proof-shape"


class TestRfc8785Data:
    """Six documents: one lies in the profile; the others are refused for the right reason, or in parts."""

    @pytest.fixture(name="load")
    def fixture_load(self):
        folder = vectors("json-canonicalization")

        def load(name):
            source = _json(folder / "input" / f"{name}.json")
            output = (folder / "output" / f"{name}.json").read_bytes()
            hexes = "".join((folder / "outhex" / f"{name}.txt").read_text(encoding="ascii").split())
            assert bytes.fromhex(hexes) == output
            assert rfc8785.dumps(source) == output, "the judge of our other tests agrees with the data"
            return source, output

        return load

    def test_inside(self, load):
        source, output = load("unicode")
        assert format_canonical(source) == output
        assert parse_canonical(output) == source

    def test_inside_once_canonical(self, load):
        """56.0 is outside as it comes in, and 56 in canonical bytes."""
        source, output = load("structures")
        with pytest.raises(EvidenceInvalid) as caught:
            format_canonical(source)
        assert caught.value.code == "json-float"
        assert parse_canonical(output)["1"]["\n"] == 56

    @pytest.mark.parametrize(
        ("name", "codes"),
        [
            ("arrays", {"json-not-object"}),
            ("french", {"json-key"}),
            ("weird", {"json-key"}),
            ("values", {"json-float", "json-null"}),
        ],
    )
    def test_outside(self, load, name, codes):
        source, output = load(name)
        for function, value in ((format_canonical, source), (parse_canonical, output)):
            with pytest.raises(EvidenceInvalid) as caught:
                function(value)
            assert caught.value.code in codes

    def test_the_parts_that_lie_inside(self, load):
        """Outside for a single member each: without it, our bytes are those of the data."""
        structures, output = load("structures")
        structures["1"]["\n"] = 56
        assert format_canonical(structures) == output, "56.0 is written 56"
        arrays, output = load("arrays")
        arrays[1]["d"], arrays[1]["10"], arrays[1]["1"] = True, "null", ["[]"]
        expected = output.replace(b'"1":[]', b'"1":["[]"]').replace(b"null", b'"null"')
        assert format_canonical({"x": arrays}) == b'{"x":' + expected + b"}"
        values, output = load("values")
        assert format_canonical({"string": values["string"]}) == output[
            output.index(b'"string"') - 1 :
        ].replace(b",", b"{", 1)
        weird, output = load("weird")
        ascii_only = {key: value for key, value in weird.items() if key.isascii()}
        assert format_canonical(ascii_only) == output[: output.index(b',"\xc2\x80"')] + b"}"


def test_verification_method_of_the_vectors(suite):
    method = _json(suite / "signedJCS.json")["proof"]["verificationMethod"]
    assert "z" + encode_base58btc(b"\xed\x01" + parse_verification_method(method)) == method.partition("#")[2]

"""Peers made of seeds, for tests that need no node behind them."""

from __future__ import annotations

from dataclasses import replace

from heritage_ledger.federation.peers import Peer
from heritage_ledger.identity.didkey import format_did_key
from heritage_ledger.identity.keys import Ed25519Signer
from heritage_ledger.log.cosignature import Ed25519CosignatureSigner, Ed25519NoteSigner


def signer(*words):
    seed = "/".join(map(str, words)).encode().ljust(32, b".")[:32]
    return Ed25519Signer.from_seed(seed)


def peer(name, *, witness_of=None, **changes):
    origin = f"{name}.example/ledger/1"
    named = f"{witness_of or name}.example/ledger/1/witness"
    made = Peer(
        origin=origin,
        institution=name.title(),
        url=f"https://{name}.example",
        log_keys=(Ed25519NoteSigner.of(origin, signer(name, "log")).verifier.vkey,),
        witness_keys=(
            Ed25519CosignatureSigner.of(named, signer(witness_of or name, "witness")).verifier.vkey,
        ),
        node_key=format_did_key(signer(name, "node").public),
        genesis="00" * 32,
    )
    return replace(made, **changes)

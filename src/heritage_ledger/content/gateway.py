"""Blocks of somebody else's copy, read through its trustless gateway (IPFS HTTP gateways, "Trustless").

Asked with `only-if-cached`, so that a gateway answers from its own disk and does not fetch the block from the
very copy that it is compared with.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from heritage_ledger.content.cid import digest_of, format_cid
from heritage_ledger.content.http import Service
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing

if TYPE_CHECKING:
    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.exchange import Waits
    from heritage_ledger.content.http import Address

_HEADERS: Final = {"Accept": "application/vnd.ipld.raw", "Cache-Control": "only-if-cached"}


class Gateway:
    """One gateway; to be closed. Raises what `content.http.Service` promises."""

    def __init__(self, address: Address, token: str | None = None, waits: Waits | None = None) -> None:
        self._service = Service("the gateway", address, token, waits)

    def close(self) -> None:
        """Let go of every connection."""
        self._service.close()

    def get(self, cid: Cid) -> bytes:
        """Return the block of `cid`, hashed.

        Raises:
            EvidenceMissing: the gateway does not have it (`block-missing`).
            EvidenceInvalid: it gives other bytes (`block-damaged`).
        """
        name = format_cid(cid)
        block = self._service.call("GET", f"/ipfs/{name}", headers=_HEADERS, missing=True)
        if block is None:
            raise EvidenceMissing("block-missing", "the gateway does not have this block", path=name)
        if hashlib.sha256(block).digest() != digest_of(cid):
            raise EvidenceInvalid(
                "block-damaged",
                "the gateway answers with bytes that do not hash to the block's address",
                path=name,
            )
        return block

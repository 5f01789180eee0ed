"""What an event says about a package: one value for writing it and for reading it back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.identity.digests import format_sha512, parse_sha512

if TYPE_CHECKING:
    from collections.abc import Mapping

_IPFS: Final = "ipfs://"
_UNQUOTED: Final = "!$&'()*+,;=:@/"
"""Path characters that an IRI shows as they are, beside letters, digits and `-._~` (RFC 3986 §3.3)."""
_PLAIN_PATH: Final = re.compile(r"[0-9A-Za-z._~!$&'()*+,;=:@/-]+")


@dataclass(frozen=True, slots=True)
class BagFile:
    """One tag file of a bag: its path from the bag's root and the 64-byte SHA-512 of its bytes."""

    path: str
    sha512: bytes


@dataclass(frozen=True, slots=True)
class PackageDescription:
    """One immutable version of an asset, as its ingestion or adoption event describes it.

    CIDs are in their text form (`bafybei…`): `cid` of the whole bag, `payload_cid` of its `data`
    directory, `previous_cid` of the version before. `payload_size` is in bytes. `manifests` holds every
    payload manifest and tag manifest of the bag; `metadata` the descriptive file, if one was given.
    `bag_version` is the bag's own word; `original_name` names the folder or file that came in.
    """

    cid: str
    asset_id: str
    version: int
    bag_version: str
    cid_profile: str
    manifests: tuple[BagFile, ...]
    payload_cid: str
    payload_size: int
    payload_files: int
    title: str | None = None
    previous_cid: str | None = None
    original_name: str | None = None
    metadata: BagFile | None = None


def package_iri(cid: str) -> str:
    """`ipfs://` and the CID."""
    return _IPFS + cid


def file_iri(cid: str, path: str) -> str:
    """The IRI of a file within a package: `ipfs://<cid>/<path>`, percent-encoded UTF-8."""
    return f"{_IPFS}{cid}/{quote(path, safe=_UNQUOTED)}"


def parse_file_iri(iri: str, cid: str) -> str:
    """The path of a file within the package `cid`.

    Raises:
        EvidenceInvalid: `event-file-name`, a file of another package, or not the one spelling of its path.
    """
    start = f"{_IPFS}{cid}/"
    if iri.startswith(start):
        encoded = iri[len(start) :]
        if _PLAIN_PATH.fullmatch(encoded):
            return encoded
        try:
            path = unquote(encoded, errors="strict")
            if path and "\0" not in path and quote(path, safe=_UNQUOTED) == encoded:
                return path
        except UnicodeDecodeError:
            pass
    raise EvidenceInvalid(
        "event-file-name",
        "the name is not that of a file in the event's package",
        expected=f"{start}… with percent-encoded UTF-8",
        found=ascii(iri)[:200],
    )


def format_package(package: PackageDescription) -> dict[str, Any]:
    """The package as a node of an event."""
    asset = {"id": package.asset_id, "type": "IntellectualEntity"}
    if package.title is not None:
        asset["title"] = package.title
    node: dict[str, Any] = {
        **format_package_name(package.cid),
        "asset": asset,
        "version": str(package.version),
        "bagVersion": package.bag_version,
        "cidProfile": package.cid_profile,
        "manifests": [_format_bag_file(package.cid, manifest) for manifest in package.manifests],
        "payload": {
            "id": package_iri(package.payload_cid),
            "type": "Payload",
            "size": str(package.payload_size),
            "fileCount": str(package.payload_files),
        },
    }
    if package.previous_cid is not None:
        node["previous"] = package_iri(package.previous_cid)
    if package.original_name is not None:
        node["originalName"] = package.original_name
    if package.metadata is not None:
        node["metadata"] = _format_bag_file(package.cid, package.metadata)
    return node


def parse_package(node: Mapping[str, Any]) -> PackageDescription:
    """The package of a node that has passed the event schema.

    Raises:
        EvidenceInvalid: `event-file-name`, or `digest-invalid`.
    """
    cid = node["id"][len(_IPFS) :]
    previous = node.get("previous")
    metadata = node.get("metadata")
    return PackageDescription(
        cid=cid,
        asset_id=node["asset"]["id"],
        version=int(node["version"]),
        bag_version=node["bagVersion"],
        cid_profile=node["cidProfile"],
        manifests=tuple(_parse_bag_file(cid, manifest) for manifest in node["manifests"]),
        payload_cid=node["payload"]["id"][len(_IPFS) :],
        payload_size=int(node["payload"]["size"]),
        payload_files=int(node["payload"]["fileCount"]),
        title=node["asset"].get("title"),
        previous_cid=None if previous is None else previous[len(_IPFS) :],
        original_name=node.get("originalName"),
        metadata=None if metadata is None else _parse_bag_file(cid, metadata),
    )


def format_package_name(cid: str) -> dict[str, Any]:
    """A package that is named and not described."""
    return {"id": package_iri(cid), "type": ["Package", "Representation"]}


def parse_package_name(node: Mapping[str, Any]) -> str:
    """The CID text of a node that has passed the event schema."""
    name: str = node["id"]
    return name[len(_IPFS) :]


def _format_bag_file(cid: str, file: BagFile) -> dict[str, Any]:
    return {
        "id": file_iri(cid, file.path),
        "type": "File",
        "digestMultibase": format_sha512(file.sha512),
    }


def _parse_bag_file(cid: str, node: Mapping[str, Any]) -> BagFile:
    return BagFile(parse_file_iri(node["id"], cid), parse_sha512(node["digestMultibase"]))

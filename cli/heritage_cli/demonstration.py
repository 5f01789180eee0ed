"""The demonstration: the whole job on a few real files, told in plain words, every claim checked.

Each step that says something was proved has run the same code as the commands; if one of them does not come
out as told, the demonstration fails.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from heritage_cli import quantities
from heritage_cli.escape import printable
from heritage_cli.session import Ending
from heritage_ledger.errors import EvidenceInvalid, OperationFailed
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_cli.session import Session
    from heritage_ledger.deposit.receipt import Receipt
    from heritage_ledger.fixity.verdict import Verdict
    from heritage_ledger.ledger import Ledger

ASSET: Final = "https://museum.example/object/1887.12"
ORIGIN: Final = "museum.example/ledger/1"
INSTITUTION: Final = "Museum of Examples"
AGENT: Final = "Ada Example <https://museum.example/staff/7>"
_SIDE: Final = 96
"""Pixels along the side of the pictures."""
_WRITABLE: Final = 0o755


@dataclass(slots=True)
class Story:
    """Tells the steps in order, to people as paragraphs, to programs as JSON lines."""

    session: Session
    number: int = 0

    def step(self, title: str, command: str) -> None:
        """Begin a step: what is done, and the command that does it."""
        self.number += 1
        output = self.session.output
        self.session.clear()
        head = output.paint("strong", f"{self.number}. {title}")
        output.result(
            "demo", {"step": self.number, "title": title, "command": command}, ["", head, f"   $ {command}"]
        )

    def told(self, *lines: str) -> None:
        """Say what came out."""
        for line in lines:
            self.session.output.result("told", {"step": self.number, "text": line}, [f"   {printable(line)}"])


def demonstrate(session: Session, *, keep: bool) -> Ending:
    """Run the demonstration in a folder of its own; `keep` leaves the folder.

    Raises:
        OperationFailed: something did not come out as told (`demo-failed`).
    """
    folder = Path(tempfile.mkdtemp(prefix="heritage-demo-"))
    try:
        _run(session, folder)
    finally:
        if not keep:
            remove_demo(folder)
    if keep:
        session.output.talk(f"\nEverything is left in {printable(str(folder))}")
        session.output.talk(f"next: heritage list --home {printable(str(folder / 'home'))}")
    return Ending(fields={"folder": str(folder) if keep else None})


def _run(session: Session, folder: Path) -> None:
    story = Story(session)
    scans = folder / "scans"
    make_scans(scans)
    story.step("A museum has some files", "ls scans/")
    story.told(*(f"{path.name}  {quantities.size(path.stat().st_size)}" for path in sorted(scans.iterdir())))
    with _home(story, folder) as ledger:
        first = _ingest(story, ledger, scans)
        second = _ingest_again(story, ledger, scans)
        _verify(story, ledger)
        _damage(story, folder, first)
        proof, keys = _prove(story, ledger, second)
        _trace(story, ledger)
    _check(story, folder, second, proof, keys)
    story.step("What this proved", "heritage check --help")
    story.told(
        "The files that came in are the files that are there, byte for byte; a single changed bit is named.",
        "Who took them in, and when, is signed, and stands in a log that only ever grows.",
        "A stranger with one file and the public keys can check that, offline, without trusting this",
        "software's index, this machine or the museum's word.",
    )


@contextlib.contextmanager
def _home(story: Story, folder: Path) -> Iterator[Ledger]:
    story.step(
        "It makes a ledger: keys and an append-only log",
        f'heritage init --institution "{INSTITUTION}" --origin {ORIGIN}',
    )
    word = secrets.token_hex(16).encode()
    library = story.session.library
    with library.init(folder / "home", institution=INSTITUTION, origin=ORIGIN, passphrase=word) as ledger:
        key = ledger.log_keys()[0].vkey
        story.told(
            "The private keys are sealed under a passphrase. The public keys of the log are for everybody:",
            key,
            "and a post-quantum one, for the decades in which the first may fall",
        )
        yield ledger


def _ingest(story: Story, ledger: Ledger, scans: Path) -> Receipt:
    story.step("It takes the files into custody", f'heritage ingest scans/ --asset {ASSET} --agent "{AGENT}"')
    receipt = ledger.ingest(scans, asset=ASSET, title="Ledger of 1887, page 12", agent=AGENT)
    story.told(
        f"{receipt.files} files are now a sealed, read-only BagIt bag, version {receipt.version}.",
        f"Its address on IPFS is {receipt.package_cid}",
        f"A signed event says so, in entry {receipt.log_index} of the log.",
    )
    return receipt


def _ingest_again(story: Story, ledger: Ledger, scans: Path) -> Receipt:
    story.step("One file is corrected: version 2", f"heritage ingest scans/ --asset {ASSET}")
    (scans / "transcription.txt").write_text("12 March 1887. Received: one vase, chipped at the rim.\n")
    receipt = ledger.ingest(scans, asset=ASSET, agent=AGENT)
    expect(receipt.version == 2, "the second ingest makes version 2")
    story.told(
        f"Version 2 has its own address, {receipt.package_cid}",
        f"Unchanged files lie on the disk once: {quantities.size(receipt.shared)} are shared with version 1.",
    )
    return receipt


def _verify(story: Story, ledger: Ledger) -> None:
    story.step("Everything is checked, without believing any database", "heritage verify --deep")
    verdicts = list(ledger.verify(deep=True))
    for verdict in verdicts:
        expect(verdict.outcome.value == "pass", f"{verdict.subject} is whole: {_bad(verdict)}")
        about = verdict.subject if verdict.asset is None else f"version {verdict.version}"
        story.told(f"{about}: {', '.join(f'{stage.name} {stage.outcome.value}' for stage in verdict.stages)}")


def _damage(story: Story, folder: Path, receipt: Receipt) -> None:
    story.step("A copy on another disk loses one bit, years later", "heritage verify --bag copy/")
    copy = folder / "copy"
    shutil.copytree(receipt.bag_path, copy)
    target = copy / "data" / "page-12.png"
    _make_writable(copy)
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(bytes(data))
    verdict = story.session.library.verify_bag(copy, progress=SILENT)
    expect(verdict.outcome.value == "fail", "one flipped bit is found")
    named = [finding for finding in verdict.findings if finding.path == "data/page-12.png"]
    expect(bool(named), "the damaged file is named")
    story.told(f"FAIL: {named[0].path}: {named[0].message}")
    story.told(f"expected {named[0].expected}", f"found    {named[0].found}")


def _prove(story: Story, ledger: Ledger, receipt: Receipt) -> tuple[bytes, list[str]]:
    story.step("A stranger asks for evidence and gets one file", f"heritage prove {ASSET} -o 1887.12.proof")
    proof = ledger.prove(receipt.asset)
    story.told(
        f"A proof of {len(proof):,} bytes: the signed event, its place in the log, the signed checkpoint."
    )
    return proof, [key.vkey for key in ledger.log_keys()]


def _trace(story: Story, ledger: Ledger) -> None:
    story.step("An auditor follows one file through the years", "heritage trace data/page-12.png")
    for step in ledger.trace("data/page-12.png").steps:
        expect(step.signature.value == step.inclusion.value == "pass", "each step is signed and in the log")
        event = step.event
        story.told(
            f"log entry {event.log_index}: version {event.version}, by {event.agent}: "
            f"signature {step.signature.value}, inclusion {step.inclusion.value}"
        )


def _check(story: Story, folder: Path, receipt: Receipt, proof: bytes, keys: list[str]) -> None:
    story.step(
        "The stranger checks it elsewhere: no home, no network, only file, bag and public keys",
        "heritage check 1887.12.proof --log-key @museum.vkey --bag 1887.12/",
    )
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1887.12.proof").write_bytes(proof)
    shutil.copytree(receipt.bag_path, elsewhere / "1887.12")
    (folder / "home").rename(folder / "home-out-of-reach")
    library = story.session.library
    read = (elsewhere / "1887.12.proof").read_bytes()
    verdict = library.check_proof(read, keys, bag=elsewhere / "1887.12", progress=SILENT)
    (folder / "home-out-of-reach").rename(folder / "home")
    expect(verdict.outcome.value == "pass", f"the proof holds: {_bad(verdict)}")
    for stage in verdict.stages:
        story.told(f"{stage.name} {stage.outcome.value}: {stage.detail}")
    forged = read.replace(b"Ada Example", b"Eve Example", 1)
    expect(forged != read and not _holds(story, forged, keys), "a forged proof is refused")
    story.told("The same file with another name written into it is refused.")


def _holds(story: Story, proof: bytes, keys: list[str]) -> bool:
    try:
        verdict = story.session.library.check_proof(proof, keys, bag=None, progress=SILENT)
    except EvidenceInvalid:
        return False
    return verdict.outcome.value == "pass"


def _bad(verdict: Verdict) -> str:
    return (
        "; ".join(f"{finding.code} {finding.path}" for finding in verdict.findings) or verdict.outcome.value
    )


def expect(came_out: bool, promise: str) -> None:  # noqa: FBT001 - it reads as a sentence
    """Raise `OperationFailed` (`demo-failed`) unless the promise came out."""
    if not came_out:
        raise OperationFailed("demo-failed", f"this did not come out as told: {promise}")


def make_scans(folder: Path) -> None:
    """Make small real files: a text and two pictures that any viewer opens."""
    folder.mkdir()
    (folder / "transcription.txt").write_text("12 March 1887. Received: one vase, chiped at the rim.\n")
    rows = [_pixels(y) for y in range(_SIDE)]
    (folder / "page-12.ppm").write_bytes(b"P6\n%d %d\n255\n" % (_SIDE, _SIDE) + b"".join(rows))
    (folder / "page-12.png").write_bytes(_png(rows))


def _pixels(y: int) -> bytes:
    """A row of paper with a darker ring, as RGB bytes."""
    middle = _SIDE // 2
    row = bytearray()
    for x in range(_SIDE):
        distance = (x - middle) ** 2 + (y - middle) ** 2
        shade = 90 if 900 < distance < 1200 else 235 - (x * y) % 17
        row += bytes((shade, shade - 12, shade - 40))
    return bytes(row)


def _png(rows: list[bytes]) -> bytes:
    """A PNG (ISO/IEC 15948) of 8-bit RGB rows, unfiltered."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", _SIDE, len(rows), 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _make_writable(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(_WRITABLE)


def remove_demo(folder: Path) -> None:
    """Remove a folder of the demonstration, sealed bags and all."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(_WRITABLE)
    shutil.rmtree(folder)

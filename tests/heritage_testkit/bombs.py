"""Trees made to deceive: a few blocks that name files and folders without end. One table, by kind."""

from __future__ import annotations

from heritage_ledger.content.cid import DAG_PB, RAW, Cid, block_cid
from heritage_ledger.content.dagpb import Link, Node, encode_node
from heritage_ledger.content.message import Kind, Message, encode_message
from heritage_ledger.content.unixfs import CHUNK_SIZE
from heritage_ledger.errors import EvidenceMissing


class Blocks(dict):
    """Blocks by CID; `asked` counts how many were given."""

    asked = 0

    def get(self, cid):
        self.asked += 1
        if self.asked > 3_000_000:
            raise AssertionError("walked without end")
        if cid not in self:
            raise EvidenceMissing("block-missing", "not here")
        return self[cid]

    def get_many(self, cids, most=None):
        return {cid: self.get(cid) for cid in cids if cid in self}

    def put(self, codec, block):
        cid = block_cid(codec, block)
        self[cid] = block
        return cid

    def raw(self, block):
        return self.put(RAW, block)

    def node(self, message, links):
        return self.put(DAG_PB, encode_node(Node(tuple(links), encode_message(message))))

    def folder(self, **children):
        links = [Link(cid, name.encode(), size) for name, (cid, size) in sorted(children.items())]
        return self.node(Message(Kind.DIRECTORY), links)

    def file(self, children):
        """A file of (cid, size) chunks."""
        sizes = tuple(size for _, size in children)
        message = Message(Kind.FILE, filesize=sum(sizes), blocksizes=sizes)
        return self.node(message, [Link(cid, b"", size) for cid, size in children])


def folders(blocks, levels=40):
    cid = blocks.folder()
    for _ in range(levels):
        cid = blocks.folder(a=(cid, 1), b=(cid, 1))
    return cid


def empty_files(blocks):
    cid = blocks.folder(f=(blocks.raw(b""), 0))
    for _ in range(40):
        cid = blocks.folder(a=(cid, 1), b=(cid, 1))
    return cid


def many_names(blocks):
    """One folder of one file under names without end: a wide tree of copies."""
    empty = blocks.raw(b"")
    cid = blocks.folder(**{f"n{at}": (empty, 0) for at in range(1_000)})
    for _ in range(10):
        cid = blocks.folder(**{f"d{at}": (cid, 1) for at in range(1_000)})
    return cid


def endless_file(blocks, levels=3):
    """2^50 bytes out of one chunk."""
    cid, size = blocks.raw(bytes(CHUNK_SIZE)), CHUNK_SIZE
    for _ in range(levels):
        cid, size = blocks.file([(cid, size)] * 1_024), size * 1_024
    return blocks.folder(f=(cid, size))


def one_byte_chunks(blocks):
    """16 million pieces in a file of 16 MB."""
    cid, size = blocks.raw(b"x"), 1
    for _ in range(2):
        cid, size = blocks.file([(cid, size)] * 4_096), size * 4_096
    return blocks.folder(f=(cid, size))


def huge_chunk(blocks):
    """A block that is said to be longer than any memory."""
    return blocks.folder(f=(blocks.file([(blocks.raw(b"x"), 1 << 40)]), 1 << 40))


def huge_block(blocks):
    return blocks.folder(f=(blocks.raw(b"x"), 1 << 62))


def no_size(blocks):
    return blocks.node(Message(Kind.DIRECTORY), [Link(blocks.raw(b"x"), b"f", None)])


def deep(blocks):
    cid = blocks.folder()
    for _ in range(5_000):
        cid = blocks.folder(a=(cid, 1))
    return cid


def wide_at_every_level(blocks):
    """Names of folders that all wait while the first of each is looked into."""
    cid = blocks.folder()
    for _ in range(30):
        cid = blocks.folder(**{f"d{at:04}": (cid, 1) for at in range(5_800)})
    return cid


def wide_file(blocks):
    """Chunks that all wait while the first of each node is looked into."""
    cid, size = blocks.raw(b"x"), 1
    byte = cid
    for _ in range(30):
        cid, size = blocks.file([(cid, size)] + [(byte, 1)] * 4_000), size + 4_000
    return blocks.folder(f=(cid, size))


def empty_shards(blocks):
    def shard(child):
        links = [Link(child, f"{at:02X}".encode(), 1) for at in range(256)] if child else []
        field = bytes([255] * 32) if child else b""
        message = Message(Kind.SHARD, data=field or None, hash_type=0x22, fanout=256)
        return blocks.node(message, links)

    cid = shard(None)
    for _ in range(7):
        cid = shard(cid)
    return cid


def long_chains(blocks):
    """A file of one byte below 32 nodes, in folders that share it: nodes and not bytes."""
    cid, size = blocks.raw(b"x"), 1
    for _ in range(33):
        cid = blocks.file([(cid, size)])
    folder = blocks.folder(**{f"f{at}": (cid, 1) for at in range(5_000)})
    return blocks.folder(**{f"d{at}": (folder, 1) for at in range(5_000)})


KINDS = {
    "folders": folders,
    "empty files": empty_files,
    "many names": many_names,
    "a file of 2^50 bytes": endless_file,
    "a file of 2^40 bytes": lambda blocks: endless_file(blocks, 2),
    "chunks of one byte": one_byte_chunks,
    "a chunk of 2^40 bytes": huge_chunk,
    "a block of 2^62 bytes": huge_block,
    "a block of no size": no_size,
    "depth": deep,
    "width at every level": wide_at_every_level,
    "width in a file": wide_file,
    "empty shards": empty_shards,
    "chains of nodes": long_chains,
}
"""Every kind of tree that must end where the budget ends."""


def make(kind: str) -> tuple[Blocks, Cid]:
    """The blocks of a kind, and its root."""
    blocks = Blocks()
    root = KINDS[kind](blocks)
    return blocks, root

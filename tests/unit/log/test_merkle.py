"""The fast tree against the recursive definitions, and what the checks refuse."""

import pytest

from heritage_ledger.errors import EvidenceInvalid, UsageError
from heritage_ledger.log import merkle
from vectors import make_log as naive

ENTRIES = [bytes([index]) for index in range(130)]
ROOTS = [naive.tree_root(ENTRIES[:size]) for size in range(67)]


def read(subtrees):
    return [naive.tree_root(ENTRIES[index << height : (index + 1) << height]) for height, index in subtrees]


def test_constants():
    assert merkle.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.leaf_hash(b"x") != merkle.leaf_hash(b"")
    assert (
        merkle.root_of([]) == merkle.prove_root(0, read) == merkle.CompactRange().root() == merkle.EMPTY_ROOT
    )


def test_every_root_three_ways():
    compact = merkle.CompactRange()
    for size in range(1, 67):
        finished = compact.append(merkle.leaf_hash(ENTRIES[size - 1]))
        assert finished == read([(height, ((size - 1) >> height)) for height in range(len(finished))])
        assert compact.root() == merkle.prove_root(size, read) == ROOTS[size]
        assert merkle.root_of([merkle.leaf_hash(entry) for entry in ENTRIES[:size]]) == ROOTS[size]
        assert list(compact.hashes) == read(merkle.cover(0, size))
        copy = compact.copy()
        copy.append(b"x" * 32)
        assert compact.root() == ROOTS[size]


def test_every_inclusion_proof():
    for size in range(1, 67):
        for index in range(size):
            proof = merkle.prove_inclusion(index, size, read)
            assert list(proof) == naive.path(index, ENTRIES[:size])
            leaf = merkle.leaf_hash(ENTRIES[index])
            merkle.check_inclusion(leaf, index, size, proof, ROOTS[size])


def test_every_consistency_proof():
    for new in range(1, 67):
        for old in range(1, new + 1):
            proof = merkle.prove_consistency(old, new, read)
            assert list(proof) == naive.consistency(old, ENTRIES[:new])
            merkle.check_consistency(old, new, proof, ROOTS[old], ROOTS[new])


def test_every_subtree_proof():
    for size in range(1, 35):
        for start in range(size):
            for end in range(start + 1, size + 1):
                width = 1 << (end - start - 1).bit_length()
                root = naive.tree_root(ENTRIES[start:end])
                if start % width:
                    with pytest.raises(EvidenceInvalid) as caught:
                        merkle.check_subtree_consistency([], root, root, start=start, end=end, size=size)
                    assert caught.value.code == "merkle-subtree"
                    continue
                proof = naive.subtree_consistency(start, end, ENTRIES[:size])
                span = {"start": start, "end": end, "size": size}
                merkle.check_subtree_consistency(proof, root, ROOTS[size], **span)
                for wrong in (proof[:-1], [*proof, root], [root, *proof]):
                    if wrong != proof:
                        with pytest.raises(EvidenceInvalid):
                            merkle.check_subtree_consistency(wrong, root, ROOTS[size], **span)
                with pytest.raises(EvidenceInvalid):
                    merkle.check_subtree_consistency(proof, bytes(32), ROOTS[size], **span)
                with pytest.raises(EvidenceInvalid):
                    merkle.check_subtree_consistency(proof, root, bytes(32), **span)
                for index in range(start, end):
                    leaf, path = (
                        merkle.leaf_hash(ENTRIES[index]),
                        naive.path(index - start, ENTRIES[start:end]),
                    )
                    merkle.check_subtree_inclusion(leaf, index, path, root, start=start, end=end)


def test_any_flipped_bit_of_a_proof_is_refused():
    proof = merkle.prove_inclusion(37, 66, read)
    grown = merkle.prove_consistency(37, 66, read)
    leaf = merkle.leaf_hash(ENTRIES[37])
    for at in range(len(proof)):
        wrong = [*proof[:at], bytes([proof[at][0] ^ 1]) + proof[at][1:], *proof[at + 1 :]]
        with pytest.raises(EvidenceInvalid):
            merkle.check_inclusion(leaf, 37, 66, wrong, ROOTS[66])
    for at in range(len(grown)):
        wrong = [*grown[:at], bytes([grown[at][0] ^ 1]) + grown[at][1:], *grown[at + 1 :]]
        with pytest.raises(EvidenceInvalid):
            merkle.check_consistency(37, 66, wrong, ROOTS[37], ROOTS[66])


def test_empty_old_tree_proves_nothing():
    for new in (0, 1, 7):
        with pytest.raises(EvidenceInvalid) as caught:
            merkle.check_consistency(0, new, [], merkle.EMPTY_ROOT, ROOTS[new])
        assert caught.value.code == "merkle-consistency"


def test_wrong_old_root_at_a_power_of_two_shows_as_a_wrong_new_root():
    proof = merkle.prove_consistency(4, 7, read)
    with pytest.raises(EvidenceInvalid) as caught:
        merkle.check_consistency(4, 7, proof, ROOTS[3], ROOTS[7])
    assert caught.value.expected == ROOTS[7].hex()
    with pytest.raises(EvidenceInvalid) as caught:
        merkle.check_consistency(3, 7, merkle.prove_consistency(3, 7, read), ROOTS[4], ROOTS[7])
    assert caught.value.expected == ROOTS[4].hex()


def test_largest_tree_and_one_more():
    size = merkle.MAX_TREE_SIZE
    longest = [bytes(32)] * merkle.MAX_PROOF_HASHES
    with pytest.raises(EvidenceInvalid) as caught:
        merkle.check_inclusion(bytes(32), 0, size, longest, bytes(32))
    assert "another root" in caught.value.message  # of the right length
    with pytest.raises(EvidenceInvalid) as caught:
        merkle.check_inclusion(bytes(32), 0, size + 1, longest, bytes(32))
    assert "outside" in caught.value.message
    with pytest.raises(EvidenceInvalid):
        merkle.check_consistency(1, size + 1, longest, bytes(32), bytes(32))


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_no_proof_for_a_leaf_that_is_not_there(index, size):
    with pytest.raises(UsageError):
        merkle.prove_inclusion(index, size, read)
    with pytest.raises(EvidenceInvalid):
        merkle.check_inclusion(bytes(32), index, size, [], bytes(32))


@pytest.mark.parametrize(("old", "new"), [(0, 3), (-1, 3), (4, 3)])
def test_no_consistency_proof_between_such_sizes(old, new):
    with pytest.raises(UsageError):
        merkle.prove_consistency(old, new, read)


@pytest.mark.parametrize(("size", "hashes"), [(3, 1), (0, 1), (-1, 1), (4, 2)])
def test_compact_range_of_the_wrong_hashes(size, hashes):
    with pytest.raises(UsageError):
        merkle.CompactRange(size, [bytes(32)] * hashes)


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33)])
def test_hashes_of_another_size(wrong):
    good = bytes(32)
    for leaf, proof, root in ((wrong, [good], good), (good, [wrong], good), (good, [good], wrong)):
        with pytest.raises(EvidenceInvalid) as caught:
            merkle.check_inclusion(leaf, 0, 2, proof, root)
        assert caught.value.code == "merkle-hash-size"

"""The library as the commands call it, imported when a command runs and not before: `--help` stays quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from heritage_ledger.errors import Finding
    from heritage_ledger.fixity.verdict import Verdict
    from heritage_ledger.ledger import Ledger
    from heritage_ledger.progress import Progress


class Library:
    """The entry points of `heritage_ledger`."""

    def default_home(self) -> Path:
        """Where the home is when nobody says: HERITAGE_HOME, or the platform's folder."""
        from heritage_ledger.home.layout import default_root  # noqa: PLC0415 - lazy, see above

        return default_root()

    def init(
        self,
        home: Path,
        *,
        institution: str,
        origin: str,
        passphrase: bytes | None,
        database: str | None = None,
    ) -> Ledger:
        """Make a home."""
        from heritage_ledger.ledger import Ledger  # noqa: PLC0415 - lazy, see above

        return Ledger.init(
            home, institution=institution, origin=origin, passphrase=passphrase, database=database
        )

    def open(
        self, home: Path, *, passphrase: Callable[[], bytes] | None, warn: Callable[[Finding], None]
    ) -> Ledger:
        """Open a home; the passphrase is asked for only when a sealed key is needed.

        `warn` is told what should be known before a signature.
        """
        from heritage_ledger.ledger import Ledger  # noqa: PLC0415 - lazy, see above

        return Ledger.open(home, passphrase=passphrase, warn=warn)

    def restore(
        self, folder: Path, home: Path, *, passphrase: Callable[[], bytes] | None, progress: Progress
    ) -> Ledger:
        """Make a home of a backup."""
        from heritage_ledger.ledger import Ledger  # noqa: PLC0415 - lazy, see above

        return Ledger.restore(folder, home, passphrase=passphrase, progress=progress)

    def verify_bag(self, path: Path, *, progress: Progress) -> Verdict:
        """Check any bag, without a home."""
        from heritage_ledger.fixity.bag import verify_bag  # noqa: PLC0415 - lazy, see above

        return verify_bag(path, progress=progress)

    def check_proof(
        self,
        data: bytes,
        vkeys: Sequence[str],
        *,
        bag: Path | None,
        policy: bytes | None = None,
        progress: Progress,
    ) -> Verdict:
        """Check a proof file, without a home."""
        from heritage_ledger.provenance.check import check_proof  # noqa: PLC0415 - lazy, see above

        return check_proof(data, vkeys, bag=bag, policy=policy, progress=progress)

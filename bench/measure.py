"""What every bench uses: a clock, a table of medians, and how to make room."""

from __future__ import annotations

import secrets
import shutil
import statistics
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def clear(path: Path) -> None:
    subprocess.run(["chmod", "-R", "u+w", str(path)], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(path, ignore_errors=True)


def make_files(root: Path, count: int, size: int) -> Path:
    """A folder `source` with files that differ from each other in every MiB, a thousand in each folder."""
    folder = root / "source"
    clear(folder)
    piece = secrets.token_bytes(1 << 20)
    for number in range(count):
        place = folder / f"{number // 1000:03}" / f"{number:06}.bin"
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            for at in range(0, size, len(piece)):
                file.write(number.to_bytes(8, "big") + at.to_bytes(8, "big") + piece[16 : size - at])
    return folder


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def table(title: str, rows: dict[str, list[float]], unit: str = "s") -> None:
    """Print one table; the first row is what the others are compared with."""
    base = statistics.median(next(iter(rows.values())))
    print(f"\n{title}")
    for name, values in rows.items():
        middle = statistics.median(values)
        print(
            f"  {name:<34} {middle:>12,.3f} {unit}   ({min(values):,.3f} to {max(values):,.3f})"
            f"   x {middle / base:.2f}"
        )

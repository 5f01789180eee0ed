"""Everything that a plain installation needs comes as wheels, on the machines that institutions have."""

import os
import re
import subprocess
import sys
from importlib.metadata import requires

import pytest

PLATFORMS = {
    "x86-64": ["manylinux2014_x86_64", "manylinux_2_28_x86_64"],
    "arm64": ["manylinux2014_aarch64", "manylinux_2_28_aarch64"],
    "musl x86-64": ["musllinux_1_2_x86_64", "musllinux_1_1_x86_64"],
    "musl arm64": ["musllinux_1_2_aarch64", "musllinux_1_1_aarch64"],
}
ABSENT = re.compile(r"(?i)connection|temporary failure|network is unreachable|name or service not known")


def wanted(*extras):
    """What the plain installation requires, and `extras`."""
    found = []
    for line in requires("heritage-ledger") or ():
        name, _, marker = line.partition(";")
        if not marker or any(f"extra == '{one}'" in marker.replace('"', "'") for one in extras):
            found.append(name.strip())
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_wheels_alone_are_enough(tmp_path, platform):
    words = [f"--platform={one}" for one in PLATFORMS[platform]]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"),
            *("--only-binary=:all:", "--implementation=cp", "--python-version=3.11"),
            *("--target", tmp_path, *words),
            *wanted("postgresql", "archives"),
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode and ABSENT.search(done.stderr) and os.environ.get("CI") != "true":
        pytest.skip("there is no package index here")
    assert done.returncode == 0, done.stderr[-2000:]

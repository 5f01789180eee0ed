"""Cases rebuilt from public bug reports, small programs of others that judge the command and its node.

They lie beside this project (`../shared/cases`, or where HERITAGE_CASES says) and are run as they are, a test
for each: it ends with 0 when the product behaves rightly, and 77 when something that it needs is absent.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heritage_testkit.outside import cases, has_cases

SKIPPED = 77
pytestmark = pytest.mark.external


def params(kind):
    """The cases of a kind by name; one that says what is absent where there are none.

    Those of the world take ports and mount disks: two of them at once, at most.
    """
    names = sorted(one.name for one in has_cases(kind).glob("[0-9]*/")) or [""]
    groups = [[pytest.mark.xdist_group(f"cases-{at}")] if kind == "world" else [] for at in (0, 1)]
    return [pytest.param(name, marks=groups[at % 2], id=name or "absent") for at, name in enumerate(names)]


def judge(kind, name, shell, **environment):
    """Run a case with the command of this environment, and whatever lies in PATH beside it."""
    folder = cases(kind)
    assert name, f"no case lies in {folder}"
    own = {key: value for key, value in os.environ.items() if not key.startswith(("HERITAGE_HOME", "PYTEST"))}
    done = subprocess.run(
        [shell, str(folder / name / "run.sh")],
        env=own | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    said = f"{done.stdout[-2000:]}{done.stderr[-1000:]}"
    if done.returncode == SKIPPED or done.stdout.startswith("SKIP"):
        pytest.skip(said)
    assert done.returncode == 0, said


@pytest.mark.parametrize("name", params("bags"))
def test_a_case_of_bags_is_right(name):
    judge("bags", name, "sh", HERITAGE=str(Path(sys.executable).with_name("heritage")), PYTHON=sys.executable)


@pytest.mark.parametrize("name", params("world"))
def test_a_case_of_the_world_around_is_right(name):
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("there is no bash")
    judge("world", name, shell, HL_VENV=sys.prefix)

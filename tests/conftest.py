"""For every test: how hypothesis searches, and that CI skips nothing that it needs."""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import HealthCheck, settings

IN_CI = os.environ.get("CI") == "true"

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci", max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if IN_CI else "dev")

# marks of homes (`specs/home.md`) lie in folders of this run and not among the user's own; processes that
# tests start inherit this
_MARKS = tempfile.TemporaryDirectory(prefix="heritage-marks-", ignore_cleanup_errors=True)
os.environ["HERITAGE_MARKS"] = os.path.join(_MARKS.name, "state")  # noqa: PTH118 - before any test's imports
os.environ["HERITAGE_MEMORY"] = _MARKS.name


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Turn a skip into a failure in CI: `.ci/run` installs everything that a test may ask for."""
    outcome = yield
    report = outcome.get_result()
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"required in CI, but skipped: {report.longrepr}"


def pytest_collection_finish(session):
    """Refuse releases of pytest and pytest-xdist that do not keep the tests of a group on one worker."""
    if getattr(session.config.option, "loadgroup", False):
        grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
        if not all("@" in item.nodeid for item in grouped):
            raise pytest.UsageError(
                "pytest-xdist does not keep groups: install the releases of pyproject.toml"
            )


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """This test's own folders of marks outside of a home: on tmpfs, and in the user's state."""
    memory, state = tmp_path / "run", tmp_path / "state"
    memory.mkdir(mode=0o700)
    monkeypatch.setenv("HERITAGE_MEMORY", str(memory))
    monkeypatch.setenv("HERITAGE_MARKS", str(state))
    return memory, state

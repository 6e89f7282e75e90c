"""Records each test as a run of one recording, with the test's id as a label: pytest --sc-record NAME.

Each test then runs in a process of its own, under sc-record, so fixtures of modules and sessions are set up for each test.
Without the option, the plugin does nothing.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


def pytest_addoption(parser):
    group = parser.getgroup("sc-record")
    group.addoption(
        "--sc-record",
        metavar="NAME",
        help="record the system calls of each test in recordings/NAME.json of the root directory, with the label test=ID",
    )
    # How the process of one test tells the outcome.
    group.addoption("--sc-record-outcome", metavar="FILE", help="for the process of one test")


def pytest_configure(config):
    outcome = config.getoption("sc_record_outcome")
    if outcome:
        config.pluginmanager.register(Outcome(config, outcome))
    elif config.getoption("sc_record"):
        if not shutil.which("sc-record"):
            raise pytest.UsageError("--sc-record: there is no sc-record in the PATH")
        config.pluginmanager.register(Recorder(config))


class Outcome:
    """In the process of one test: writes its reports, one per line."""

    def __init__(self, config, path):
        self.config, self.path = config, path

    def pytest_runtest_logreport(self, report):
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(data) + "\n")


class Recorder:
    """Runs each test under sc-record, and reports what that process reported."""

    def __init__(self, config):
        self.config = config
        name = config.getoption("sc_record")
        self.recorder = [
            "sc-record", "-q", "-n", name, "-r", str(config.rootpath / "recordings" / f"{name}.json"), "-o", "none",
        ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        with tempfile.TemporaryDirectory() as folder:
            outcome = Path(folder) / "outcome"
            ended = subprocess.run(self.command(item, outcome), cwd=self.config.rootpath, capture_output=True, text=True)
            lines = outcome.read_text(encoding="utf-8").splitlines() if outcome.exists() else []
        load = self.config.hook.pytest_report_from_serializable
        reports = [load(config=self.config, data=json.loads(line)) for line in lines]
        if not any(report.when == "teardown" for report in reports):
            reports.append(self.crash(item, ended))
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def command(self, item, outcome):
        settings = ["-c", str(self.config.inipath)] if self.config.inipath else []
        pytest_of_one = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_sc_record"]
        return [
            *self.recorder, "--label", f"test={item.nodeid}", "--", *pytest_of_one, *settings,
            f"--rootdir={self.config.rootpath}", f"--sc-record-outcome={outcome}", item.nodeid,
        ]

    def crash(self, item, ended):
        """The report of a process that ended before its test did."""
        says = f"its process ended with status {ended.returncode}{os.linesep}{ended.stdout}{ended.stderr}"
        return pytest.TestReport(
            nodeid=item.nodeid, location=item.location, keywords={}, outcome="failed", longrepr=says, when="call",
        )

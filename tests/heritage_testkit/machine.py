"""A machine for the pages of the handbook: its root in a folder, the programs of this one.

Commands are run as the pages say them, with every path below `/etc`, `/opt`, `/mnt`, `/var` and `/usr/local`
in that folder, and names and ports that are taken here. `systemctl` starts what the installed unit says, with
its variables and credentials, and waits for READY=1 as systemd does: here is none that runs.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from heritage_testkit.outside import PROJECT
from heritage_testkit.proxies import need

WAIT = 120.0
_PATHS = re.compile(r"(?<![\w./}$])/(?=(?:etc|opt|mnt|var|usr/local)/)")
_TEXTS = {".service", ".timer", ".conf", ".sh", ".toml", ".sysusers", ".Caddyfile"}
_NGINX = """\
pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; daemon off; {user}events {{ }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  include {root}/etc/nginx/conf.d/*.conf;
}}
"""


@dataclass
class Machine:
    """`names` are what stands on the pages for what is here; `variables` come beside those of the process."""

    root: Path
    names: dict[str, str]
    variables: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("etc", "opt", "mnt", "var/lib", "var/tmp", "usr/local/bin", "run", "src/node", "memory"):
            (self.root / name).mkdir(parents=True)
        (self.root / "opt" / "heritage-ledger").symlink_to(sys.prefix)
        (self.root / "memory").chmod(0o700)
        shutil.copytree(PROJECT / "node" / "deploy", self.source / "node" / "deploy")
        for path in (self.source / "node" / "deploy").rglob("*"):
            if path.suffix in _TEXTS:
                path.write_text(self.here(path.read_text()))

    @property
    def source(self) -> Path:
        """The checkout that the pages speak of."""
        return self.root / "src"

    @property
    def home(self) -> Path:
        return self.root / "var" / "lib" / "heritage"

    def here(self, text: str) -> str:
        """A text of the pages, as it is on this machine."""
        text = _PATHS.sub(f"{self.root}/", text)
        text = re.sub(r"(?m)^User=heritage$|runuser -u heritage -- |-o heritage -g heritage ", "", text)
        text = re.sub(r"chown (-R )?(heritage:?|1000:1000) ", r"chown \1$(id -u) ", text)
        text = re.sub(r"(?m)^systemd-sysusers$", f"systemd-sysusers --root={self.root}", text)
        text = re.sub(r"(?m)^nginx -t$", shlex.join([*self._nginx(), "-t", "-q"]), text)
        for name, here in self.names.items():
            text = text.replace(name, here)
        return text

    def there(self, text: str) -> str:
        """What was printed here, as the pages say it."""
        for name, here in self.names.items():
            if here:
                text = text.replace(here, name)
        return text.replace(str(self.root), "")

    def environment(self, **more: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HERITAGE_")}
        path = f"{self.root}/usr/local/bin:{os.environ['PATH']}:/usr/sbin"
        own = {"PATH": path, "COLUMNS": "100", "HERITAGE_MEMORY": str(self.root / "memory")}
        return kept | own | self.variables | more

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the pages."""
        words = command.split()
        if words[0] == "systemctl":
            self.systemctl(words[1], [one for one in words[2:] if not one.startswith("-")])
            return subprocess.CompletedProcess(words, 0, "", "")
        done = subprocess.run(
            ["bash", "-c", self.here(command)],
            cwd=self.source,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT * 2,
        )
        done.stdout, done.stderr = self.there(done.stdout), self.there(done.stderr)
        return done

    def systemctl(self, verb: str, names: list[str]) -> None:
        units = {name if "." in name else f"{name}.service" for name in names}
        for unit in units:
            if unit in {"nginx.service", "caddy.service"}:
                assert verb in {"reload", "restart", "start"}
                self._proxy(unit.partition(".")[0])
                continue
            assert (self.root / "etc/systemd/system" / unit).is_file(), f"{unit} was not installed"
            if verb in {"enable", "disable"}:
                words = ["systemctl", f"--root={self.root}", "--quiet", verb, unit]
                subprocess.run(words, check=True, capture_output=True)
            if verb in {"stop", "restart", "disable"}:
                self.stop(unit)
            if verb in {"start", "restart", "enable"} and not unit.endswith(".timer"):
                self._start(unit)
            if verb == "reload":
                self.running[unit].send_signal(signal.SIGHUP)
                assert self.running[unit].poll() is None
        assert units or verb == "daemon-reload"
        assert verb in {"enable", "disable", "start", "stop", "restart", "reload", "daemon-reload"}

    def _start(self, unit: str) -> None:
        said: dict[str, list[str]] = {}
        for line in (self.root / "etc/systemd/system" / unit).read_text().splitlines():
            key, _, value = line.partition("=")
            said.setdefault(key, []).append(value)
        credentials = self.root / "run" / unit
        credentials.mkdir(exist_ok=True)
        variables = dict(line.split("=", 1) for line in said["Environment"])
        for name in said.get("EnvironmentFile", []):
            with contextlib.suppress(FileNotFoundError):
                lines = Path(name.removeprefix("-")).read_text().splitlines()
                variables |= dict(line.split("=", 1) for line in lines)
        for line in said.get("LoadCredential", []):
            name, _, source = line.partition(":")
            shutil.copy(source, credentials / name)
        (command,) = said["ExecStart"]
        words = [one.replace("${CREDENTIALS_DIRECTORY}", str(credentials)) for one in shlex.split(command)]
        (kind,) = said["Type"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(f"\0{self.root}/{unit}"[:100])
            told.settimeout(WAIT)
            variables |= {"NOTIFY_SOCKET": f"@{self.root}/{unit}"[:100]} if kind == "notify" else {}
            with (self.root / f"{unit}.log").open("ab") as log:
                process = subprocess.Popen(
                    words, env=self.environment(**variables), stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            if kind == "oneshot":
                assert process.wait(WAIT) == 0, (self.root / f"{unit}.log").read_text()
                return
            self.running[unit] = process
            assert told.recv(100) == b"READY=1", (self.root / f"{unit}.log").read_text()

    def _nginx(self) -> list[str]:
        folder = self.root / "run" / "nginx"
        return ["nginx", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]

    def _proxy(self, program: str) -> None:
        if program == "caddy":
            return  # both would want the port; test_proxies runs it
        unit, folder = f"{program}.service", self.root / "run" / program
        if unit in self.running:
            self.running[unit].send_signal(signal.SIGHUP)
            self._listens()
            return
        words = [need(program), *self._nginx()[1:]]
        self.running[unit] = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        end = time.monotonic() + WAIT
        while not (folder / "pid").is_file():  # written when it listens
            assert self.running[unit].poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        self._listens()

    def _listens(self) -> None:
        """Wait until nginx listens where its files say: it opens ports after it was told to read them."""
        text = "".join(one.read_text() for one in (self.root / "etc/nginx/conf.d").glob("*.conf"))
        end = time.monotonic() + WAIT
        for port in set(re.findall(r"(?m)^\s*listen\s+(?:127\.0\.0\.1:)?(\d+)", text)):
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 1):
                    break
                assert time.monotonic() < end, f"nothing listens at {port}"
                time.sleep(0.05)

    def prepare_nginx(self) -> None:
        """What Debian's own settings do: take in what lies in conf.d."""
        folder = self.root / "run" / "nginx"
        folder.mkdir()
        user = "user root; " if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, root=self.root, user=user))

    def stop(self, unit: str) -> None:
        process = self.running.pop(unit, None)
        if process is not None:
            process.terminate()
            process.wait(WAIT)

    def close(self) -> None:
        for unit in list(self.running):
            self.stop(unit)

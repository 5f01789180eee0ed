"""The proxies of `node/deploy`, run by the real programs: their files, with other names and ports."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from heritage_testkit.outside import PROJECT
from heritage_testkit.tls import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEPLOY = PROJECT / "node" / "deploy"
WAIT = 30.0
_NGINX = """\
pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; daemon off; {user}events {{ }}
http {{
  log_format asked '$remote_addr $request_method $uri $status';
  access_log {folder}/access.log asked;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;
  include {folder}/heritage.conf;
}}
"""
_CADDY = "{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}/storage\n}}\n"
FILES = {
    ("nginx", ""): "nginx/heritage.conf",
    ("nginx", "/ledger"): "nginx/heritage-prefix.conf",
    ("caddy", ""): "caddy/heritage.Caddyfile",
    ("caddy", "/ledger"): "caddy/heritage-prefix.Caddyfile",
}
"""The file for each program and path below which the node lies."""


def need(program: str) -> str:
    """Where a proxy's program is; skips where it is not installed, fails in CI."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"required in CI: install the package {program}")
    if found is None:
        pytest.skip(f"{program} is not here: install the package {program}")
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Proxy:
    """A proxy before a node; `url` is what the node's settings say, `ca` who vouches for it."""

    program: str
    folder: Path
    prefix: str
    port: int
    ca: Path
    certificate: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}{self.prefix}"

    def settings(self, node: int) -> list[str]:
        """Write the program's settings for a node at a port; returns the words that begin its command."""
        text = (DEPLOY / FILES[self.program, self.prefix]).read_text()
        text = text.replace("127.0.0.1:8463", f"127.0.0.1:{node}")
        for name in ("fullchain", "privkey"):
            text = text.replace(f"/etc/heritage/tls/{name}.pem", str(self.certificate))
        if self.program == "nginx":
            text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl")
            text = text.replace("    listen [::]:443 ssl http2;\n", "")
            text = text.replace("/etc/nginx/snippets/", f"{self.folder}/")
            shutil.copy(DEPLOY / "nginx" / "heritage-proxy.conf", self.folder)
            (self.folder / "heritage.conf").write_text(text)
            user = "user root; " if os.geteuid() == 0 else ""
            (self.folder / "nginx.conf").write_text(_NGINX.format(folder=self.folder, user=user))
            return [need("nginx"), "-c", f"{self.folder}/nginx.conf", "-e", f"{self.folder}/error.log"]
        text = text.replace("# tls ", "tls ")
        for name in ("{$HERITAGE_NAME:ledger.museum.example}", "www.museum.example"):
            text = text.replace(f"\n{name} {{", f"\nhttps://localhost:{self.port} {{\n\tbind 127.0.0.1")
        (self.folder / "Caddyfile").write_text(_CADDY.format(folder=self.folder) + text)
        return [need("caddy"), "run", "--adapter", "caddyfile", "--config", f"{self.folder}/Caddyfile"]

    @contextlib.contextmanager
    def running(self, node: int) -> Iterator[Proxy]:
        """Run it before the node at a port."""
        words = self.settings(node)
        with (self.folder / "said").open("w") as said:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=os.environ | {"HOME": str(self.folder)},
            )
        try:
            end = time.monotonic() + WAIT
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                    break
                assert process.poll() is None, (self.folder / "said").read_text()
                assert time.monotonic() < end, "the proxy does not listen"
                time.sleep(0.05)
            yield self
        finally:
            process.terminate()
            process.wait(WAIT)


def make_proxy(folder: Path, program: str, prefix: str = "") -> Proxy:
    """A proxy of ours on a port that was free, with a certificate of the house for `localhost`."""
    need(program)
    house = Authority(folder / "house")
    (folder / program).mkdir()
    return Proxy(program, folder / program, prefix, free_port(), house.file, house.issue())

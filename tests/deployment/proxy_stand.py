"""nginx with the committed configuration, in front of servers of the tests."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
import subprocess
import urllib.error
from email.message import Message
from pathlib import Path
from typing import Any

from tritonclient import grpc
from tritonclient.grpc.auth import BasicAuth

from hemogat.serving.ports import choose_ports

USER, PASSWORD = "tests", "only for tests"


class Proxy:
    """nginx with the committed configuration, its places replaced by some of this machine.

    ``changes`` are further replacements in it: limits that a test can reach, for one.
    """

    def __init__(self, nginx: str, serving: Path, folder: Path, changes: dict[str, str]) -> None:
        self._nginx = nginx
        self.port = choose_ports("127.0.0.1", {"proxy": 0})["proxy"]
        self.folder = folder
        self._upstream = (serving / "proxy/active/upstream.conf").read_text()
        self.secrets = folder / "secrets"
        self.certificate = self.secrets / "tls.crt"
        make_secrets(serving, self.secrets)
        config = (serving / "proxy/nginx.conf").read_text()
        for place, here in {
            "/tmp/": f"{folder}/",  # first: the folder may be in /tmp
            "/run/secrets": str(self.secrets),
            "8443": f"127.0.0.1:{self.port}",
            "/dev/std": f"{folder}/std",
            **changes,
        }.items():
            assert place in config, place
            config = config.replace(place, here)
        if os.geteuid() == 0:  # its workers could not read the tests' folder as another user
            config = f"user root;\n{config}"
        (folder / "nginx.conf").write_text(config)

    def point_at(self, http_url: str, grpc_url: str) -> None:
        """Have requests answered by a server."""
        upstream = self._upstream.replace("triton:8000", http_url)
        (self.folder / "active").mkdir(exist_ok=True)
        active = self.folder / "active/upstream.conf"
        active.write_text(upstream.replace("triton:8001", grpc_url))

    def run(self, *options: str) -> None:
        """Start nginx, or tell the one that runs something."""
        config = ["-c", str(self.folder / "nginx.conf"), "-e", str(self.folder / "stderr")]
        command = [self._nginx, "-p", str(self.folder), *config, *options]
        subprocess.run(command, check=True, timeout=30)

    def ask(
        self,
        body: bytes = b"{}",
        *,
        path: str = "/v2/models/hemogat/infer",
        user: str = USER,
        password: str = PASSWORD,
        source: str = "127.0.0.1",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Message, bytes]:
        """Post over HTTP from an address of this machine; return status, headers and body."""
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        connection = http.client.HTTPSConnection(
            "127.0.0.1",
            self.port,
            timeout=30,
            context=ssl.create_default_context(cafile=str(self.certificate)),
            source_address=(source, 0),
        )
        try:
            all_headers = {"Authorization": f"Basic {token}"} | (headers or {})
            connection.request("POST", path, body, all_headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def infer(self, text: str, password: str = PASSWORD, model: str = "hemogat") -> Any:
        """Return the label of a text; raises HTTPError."""
        body = {"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
        path = f"/v2/models/{model}/infer"
        request = json.dumps({"inputs": [body]}).encode()
        status, headers, content = self.ask(request, path=path, password=password)
        if status != 200:
            raise urllib.error.HTTPError(path, status, content.decode(), headers, None)
        outputs = json.loads(content)["outputs"]
        return next(output["data"][0] for output in outputs if output["name"] == "LABEL")

    def is_ready_over_grpc(self, password: str = PASSWORD) -> bool:
        """Ask over gRPC."""
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.InferenceServerClient(
            f"127.0.0.1:{self.port}",
            ssl=True,
            root_certificates=str(self.certificate),
            channel_args=options,
        ) as client:
            client.register_plugin(BasicAuth(USER, password))
            return bool(client.is_model_ready("hemogat", client_timeout=30))


def make_secrets(serving: Path, folder: Path) -> None:
    """Run the commands of docs/serving.md that make the secrets, for USER."""
    folder.mkdir(mode=0o755)
    docs = (serving.parent / "docs/serving.md").read_text()
    block = re.search(r"    cd serving/secrets && (.*?)    cd \.\./\.\. ", docs, re.DOTALL)
    assert block is not None
    commands = block[1].replace("NAME:", f"{USER}:")
    # The docs have it ask; a test has nobody to answer.
    assert "openssl passwd -6" in commands
    commands = commands.replace(
        "openssl passwd -6", f"echo '{PASSWORD}' | openssl passwd -6 -stdin"
    )
    quiet = {"check": True, "capture_output": True, "timeout": 60}
    subprocess.run(["sh", "-euc", f"umask 077\n{commands}"], cwd=folder, **quiet)  # type: ignore[call-overload]

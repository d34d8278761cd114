"""Two bundle versions side by side, a switch and a rollback; alone, and behind the proxy."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tritonclient import grpc
from tritonclient.grpc.auth import BasicAuth
from tritonclient.utils import InferenceServerException

from hemogat.errors import ServerError
from hemogat.runtime.bundle import write_sums
from hemogat.serving.async_client import AsyncClient
from hemogat.serving.client import Client
from hemogat.serving.ports import choose_ports
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings

TOOLS = ("nginx", "openssl")
needs_proxy = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason=f"not all installed: {', '.join(TOOLS)}"
)
USER, PASSWORD = "tests", "only for tests"


@pytest.fixture(scope="module")
def next_server(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """Return a server of a second version of the bundle, which gives the labels other names."""
    folder = tmp_path_factory.mktemp("next")
    bundle = shutil.copytree(tiny_bundle, folder / "bundle")
    facts = json.loads((bundle / "bundle.json").read_text())
    facts["labels"] = [f"{label} (2)" for label in facts["labels"]]
    (bundle / "bundle.json").write_text(json.dumps(facts))
    write_sums(bundle)
    models = write_repository(bundle, folder / "models", RepositorySettings(threads=1))
    with TritonServer(models, ready_timeout_s=240) as running:
        yield running


def label(url: str) -> str:
    with Client(url) as client:
        return client.predict(text="stop that right now").label


def test_each_version_answers_as_its_own_bundle(
    server: TritonServer, next_server: TritonServer
) -> None:
    first, second = label(server.grpc_url), label(next_server.grpc_url)
    assert second == f"{first} (2)"
    assert label(server.grpc_url) == first


class Proxy:
    """nginx with the committed configuration, its places replaced by some of this machine."""

    def __init__(self, serving: Path, folder: Path) -> None:
        self.port = choose_ports("127.0.0.1", {"proxy": 0})["proxy"]
        self.folder = folder
        self._upstream = (serving / "proxy/active/upstream.conf").read_text()
        self.certificate = folder / "tls.crt"
        self._make_secrets()
        config = (serving / "proxy/nginx.conf").read_text()
        for place, here in {
            "/tmp/": f"{folder}/",  # first: the folder may be in /tmp
            "/run/secrets": str(folder),
            "8443": f"127.0.0.1:{self.port}",
            "/dev/std": f"{folder}/std",
        }.items():
            assert place in config
            config = config.replace(place, here)
        if os.geteuid() == 0:  # its workers could not read the tests' folder as another user
            config = f"user root;\n{config}"
        (folder / "nginx.conf").write_text(config)

    def point_at(self, server: TritonServer) -> None:
        """Have requests answered by ``server``."""
        upstream = self._upstream.replace("triton:8000", server.http_url)
        (self.folder / "active").mkdir(exist_ok=True)
        active = self.folder / "active/upstream.conf"
        active.write_text(upstream.replace("triton:8001", server.grpc_url))

    def run(self, *options: str) -> None:
        """Start nginx, or tell the one that runs something."""
        config = ["-c", str(self.folder / "nginx.conf"), "-e", str(self.folder / "stderr")]
        subprocess.run(["nginx", "-p", str(self.folder), *config, *options], check=True, timeout=30)

    def infer(self, text: str, password: str = PASSWORD, model: str = "hemogat") -> Any:
        """Ask over HTTP."""
        token = base64.b64encode(f"{USER}:{password}".encode()).decode()
        body = {"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}/v2/models/{model}/infer",
            json.dumps({"inputs": [body]}).encode(),
            {"Authorization": f"Basic {token}"},
        )
        trust = ssl.create_default_context(cafile=str(self.certificate))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        with opener.open(request, timeout=30) as answer:
            outputs = json.loads(answer.read())["outputs"]
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

    def _make_secrets(self) -> None:
        make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        names = ["-subj", "/CN=hemogat", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", str(self.folder / "tls.key"), "-out", str(self.certificate)]
        subprocess.run(["openssl", *make, *names, *files], check=True, capture_output=True)
        hashed = subprocess.run(
            ["openssl", "passwd", "-apr1", PASSWORD], check=True, capture_output=True, text=True
        ).stdout.strip()
        (self.folder / "clients.htpasswd").write_text(f"{USER}:{hashed}\n")


@pytest.fixture(scope="module")
def proxy(
    serving: Path, server: TritonServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    proxy = Proxy(serving, folder)
    proxy.point_at(server)
    with ExitStack() as cleanup:
        proxy.run()
        cleanup.callback(proxy.run, "-s", "quit")
        yield proxy


@needs_proxy
def test_the_proxy_lets_in_who_is_known(proxy: Proxy) -> None:
    assert proxy.infer("stop that")
    assert proxy.is_ready_over_grpc()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        proxy.infer("stop that", password="wrong")
    with pytest.raises(InferenceServerException, match=r"(?i)unauthenticated|401"):
        proxy.is_ready_over_grpc(password="wrong")


@needs_proxy
@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_our_clients_log_in(
    proxy: Proxy, server: TritonServer, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("HEMOGAT_PASSWORD", PASSWORD)
    monkeypatch.setenv("HEMOGAT_CA_CERTIFICATE", str(proxy.certificate))
    url, expected = f"{scheme}://{USER}@127.0.0.1:{proxy.port}", label(server.grpc_url)
    assert label(url) == expected

    async def ask() -> str:
        async with AsyncClient(url) as client:
            return (await client.predict(text="stop that right now")).label

    assert asyncio.run(ask()) == expected
    monkeypatch.setenv("HEMOGAT_PASSWORD", "wrong")
    with pytest.raises(ServerError, match=r"HEMOGAT_PASSWORD"):
        label(url)


@needs_proxy
def test_the_proxy_holds_back_what_clients_do_not_need(proxy: Proxy) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        proxy.infer("stop that", model="hemogat_text_encoder")
    with pytest.raises(urllib.error.HTTPError, match="413"):
        proxy.infer("x" * (66 << 20))


@needs_proxy
def test_switch_and_rollback(proxy: Proxy, server: TritonServer, next_server: TritonServer) -> None:
    text = "stop that right now"
    first = proxy.infer(text)
    for chosen, expected in ((next_server, f"{first} (2)"), (server, first)):
        proxy.point_at(chosen)
        proxy.run("-s", "reload")
        deadline = time.monotonic() + 30  # the old worker answers until the new one is there
        while (answer := proxy.infer(text)) != expected:
            assert time.monotonic() < deadline, answer
            time.sleep(0.1)
        assert [proxy.infer(text) for _ in range(5)] == [expected] * 5

from __future__ import annotations

from pathlib import Path

import pytest

from hemogat.errors import InputError
from hemogat.serving.endpoint import Endpoint


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, Endpoint("grpc", "127.0.0.1:8001")),
        ("host:9", Endpoint("grpc", "host:9")),
        ("http://host:9", Endpoint("http", "host:9")),
        ("grpcs://host:9/", Endpoint("grpc", "host:9", tls=True)),
        ("https://ann@host:9", Endpoint("http", "host:9", True, "ann", "secret")),
    ],
)
def test_urls(url: str | None, expected: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEMOGAT_PASSWORD", "secret")
    monkeypatch.delenv("HEMOGAT_CA_CERTIFICATE", raising=False)
    assert Endpoint.parse(url) == expected


def test_no_password_is_shown_or_sent_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEMOGAT_PASSWORD", "secret")
    assert "secret" not in repr(Endpoint.parse("grpcs://ann@host:9"))
    with pytest.raises(InputError, match="everybody can read; use https://ann@host:9"):
        Endpoint.parse("http://ann@host:9")
    with pytest.raises(InputError, match="belongs into HEMOGAT_PASSWORD") as refused:
        Endpoint.parse("https://ann:hidden@host:9")
    assert "hidden" not in str(refused.value)
    monkeypatch.delenv("HEMOGAT_PASSWORD")
    with pytest.raises(InputError, match="expected the password of ann in HEMOGAT_PASSWORD"):
        Endpoint.parse("https://ann@host:9")


@pytest.mark.parametrize("url", ["ftp://host:9", "http://", "http://host:9/path"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"expected host:port or grpc\|grpcs\|http\|https"):
        Endpoint.parse(url)


@pytest.mark.parametrize("url", ["grpcs://host:9", "https://host:9"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_are_none_are_named(
    url: str, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("HEMOGAT_CA_CERTIFICATE", str(path))
    with pytest.raises(InputError, match=r"ca\.crt: expected certificates \(PEM\)"):
        Endpoint.parse(url).connect(1.0)

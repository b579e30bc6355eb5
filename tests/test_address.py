"""Addresses of indexes, and what lets us in: read as they are meant, and nothing of them shown."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.engines.remote.secrets import Secrets, secrets_of
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.address import NAMES, PORTS, SCHEMES, Address, place_of

GOOD = [
    ("elasticsearch://h/i", ("elasticsearch", "h", 9200, False, None, ("i",))),
    ("elasticsearch+https://h:1/i", ("elasticsearch", "h", 1, True, None, ("i",))),
    ("opensearch://me@h:9201/i/", ("opensearch", "h", 9201, False, "me", ("i",))),
    ("milvus://[::1]:5/c", ("milvus", "::1", 5, False, None, ("c",))),
    ("qdrant+https://h/c%20d", ("qdrant", "h", 6333, True, None, ("c d",))),
    ("postgresql://a%40b@h/db/t", ("postgresql", "h", 5432, False, "a@b", ("db", "t"))),
]
BAD = [
    "opensearch://h", "opensearch://h/", "opensearch:///i", "opensearch://h/a/b", "opensearch:i",
    "opensearch://[h/i", "opensearch://h/i?",
    "opensearch://h:x/i", "opensearch://h:70000/i", "opensearch://h/i?a=b", "opensearch://h/i#a",
    "postgresql://h/db", "postgresql://h/db/", "postgresql+https://h/db/t", "milvus:",
    "qdrant+https:folder", "elasticsearch+https:i", "s3://bucket/x", "solr://h/i",
    "OpenSearch://h/i", "opensearch+http://h/i", "https://me:sesame@h/i",
]  # fmt: skip
PATHS = ["index", "a/b", "C:\\x", "s3:bucket/x", "opensearch", "./opensearch://h/i", "-", "x:y"]


@pytest.mark.parametrize(("text", "parts"), GOOD)
def test_a_good_address(text: str, parts: tuple[object, ...]) -> None:
    assert place_of(text) == Address(*parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["milvus", "qdrant"])
def test_one_without_a_server(scheme: str) -> None:
    found = place_of(f"{scheme}:some/where.db")
    assert isinstance(found, Address)
    assert (found.scheme, found.folder, found.host) == (scheme, Path("some/where.db"), "")


@pytest.mark.parametrize("text", BAD)
def test_a_bad_address_is_told_what_one_is(text: str) -> None:
    with pytest.raises(UsageError, match="an address is"):
        place_of(text)


@pytest.mark.parametrize("text", PATHS)
def test_what_is_a_path(text: str) -> None:
    assert place_of(text) == Path(text)


PASSWORDS = [
    "opensearch://me:sesame@h/i", "opensearch://:sesame@h/i", "milvus://root:sesame@h:1/c",
    "postgresql://me:sesame@h/db/t", "postgresql://me:se/same@h/db/t", "opensearch://me:se@same@h/i",
    "postgresql://me:sesame@h/db", "opensearch+https://me:sesame@h/i?x=1",
    "opensearch://me:sesame@h:x/i", "opensearch://h/i?password=sesame", "opensearch://h/i#sesame",
]  # fmt: skip


@pytest.mark.parametrize("text", PASSWORDS)
def test_a_password_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        place_of(text)
    assert "same" not in str(refused.value).replace("...", "")


plain = st.text(string.ascii_letters + string.digits + " -_.é漢@:%/?#[]+&='\"", min_size=1)
hosts = st.sampled_from(["h", "localhost", "a-b.example.org", "10.0.0.1", "::1", "fe80::1"])


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    scheme = draw(st.sampled_from(SCHEMES))
    return Address(
        scheme,
        draw(hosts),
        draw(st.integers(1, 65535) | st.just(PORTS[scheme])),
        draw(st.booleans()) and scheme != "postgresql",
        draw(st.none() | plain),
        tuple(draw(plain) for _ in NAMES[scheme]),
    )


@given(addresses())
def test_an_address_as_text_is_itself(address: Address) -> None:
    assert place_of(str(address)) == address


# What lets us in

HERE, AWAY = "opensearch://localhost/i", "opensearch+https://search.example.org/i"
VARIABLES = ("USER", "PASSWORD", "API_KEY", "CA", "SECRETS")


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"SPLADE_BRIDGE_{name}", raising=False)


def asked(text: str) -> Secrets:
    place = place_of(text)
    assert isinstance(place, Address)
    return secrets_of(place)


def test_nothing_is_known() -> None:
    assert asked(AWAY) == Secrets()


def test_the_environment_and_the_user_of_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLADE_BRIDGE_USER", "one")
    monkeypatch.setenv("SPLADE_BRIDGE_PASSWORD", "sesame")
    monkeypatch.setenv("SPLADE_BRIDGE_API_KEY", "")
    assert asked(AWAY) == Secrets("one", "sesame")
    assert asked(AWAY.replace("//", "//two@")).user == "two"
    assert "sesame" not in repr(asked(AWAY))
    assert asked(AWAY).hidden("not sesame!") == "not ...!"


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (HERE, False),
        (AWAY, False),
        (AWAY.replace("+https", ""), True),
        ("opensearch://127.0.0.2/i", False),
        ("opensearch://127.example.org/i", True),
        ("qdrant://h/c", True),
        ("postgresql://h/db/t", False),
    ],
)
def test_no_key_goes_through_the_network_as_plain_text(
    text: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLADE_BRIDGE_API_KEY", "sesame")
    if not refused:
        assert asked(text).api_key == "sesame"
        return
    with pytest.raises(UsageError, match="plain text") as error:
        asked(text)
    assert "sesame" not in str(error.value)


def secrets_file(
    folder: Path, text: str, monkeypatch: pytest.MonkeyPatch, mode: int = 0o600
) -> Path:
    path = folder / "secrets.toml"
    path.write_text(text)
    path.chmod(mode)
    monkeypatch.setenv("SPLADE_BRIDGE_SECRETS", str(path))
    return path


@pytest.mark.parametrize(
    "table",
    ["opensearch+https://search.example.org", "opensearch+https://search.example.org:9200/"],
)
def test_a_file_has_a_table_an_address(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f'["opensearch://localhost"]\npassword = "no"\n["{table}"]\npassword = "sesame"\n'
    secrets_file(tmp_path, text, monkeypatch)
    monkeypatch.setenv("SPLADE_BRIDGE_PASSWORD", "of the environment")
    assert asked(AWAY).password == "sesame"
    assert asked(HERE).password == "no"
    assert asked("opensearch+https://other.example.org/i").password == "of the environment"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_may_read(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets_file(tmp_path, "", monkeypatch, mode)
    with pytest.raises(BadInputError, match="chmod 600"):
        asked(AWAY)


@pytest.mark.parametrize(
    "body",
    [
        "password = 5",
        'password = ["sesame"]',
        'passwort = "sesame"',
        '"opensearch://localhost" = "sesame"',
        "x = [sesame",
    ],
)
def test_a_wrong_file_shows_no_secret(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "" if "//" in body else '["opensearch://localhost"]\n'
    secrets_file(tmp_path, f"{head}{body}\n", monkeypatch)
    with pytest.raises(BadInputError) as wrong:
        asked(HERE)
    assert "secrets.toml" in str(wrong.value)
    assert "sesame" not in str(wrong.value)


def test_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLADE_BRIDGE_SECRETS", str(tmp_path / "nothing"))
    with pytest.raises(BadInputError, match="cannot be read"):
        asked(HERE)

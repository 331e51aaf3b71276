"""What is shown of MLFLOW_TRACKING_URI, by the suite and by its analysis: never a user's name or password."""

import shlex

import pytest

from analysis.results import address as of_analysis
from segcore import credentials
from segcore.tracking import address as of_tracking

WHERE = {"segcore": of_tracking, "analysis": of_analysis}
# An address, how it is shown, and what may be seen nowhere.
ADDRESSES = [
    ("http://127.0.0.1:5000", "http://127.0.0.1:5000", ()),
    ("http://bob:hunter2@host:5000/path", "http://host:5000/path", ("bob", "hunter2")),
    ("http://bob@host", "http://host", ("bob",)),
    ("postgresql+psycopg://u:hunter#2@127.0.0.1:9/db", "postgresql+psycopg://127.0.0.1:9/db", ("hunter",)),
    ("postgresql://bob:hun?ter2@h/db", "postgresql://h/db", ("hun?", "ter2")),
    ("postgresql://bob:hun@ter2@h/db", "postgresql://h/db", ("hun", "ter2")),
    ("postgresql://bob:hun/ter2@h/db", "postgresql://h/db", ("hun/", "ter2")),
    ("postgresql://bob:hun%2Fter2@h/db", "postgresql://h/db", ("hun%", "ter2")),
    ("postgresql://bob:123/45@h/db", "postgresql://h/db", ("123", "45")),
    ("postgresql://postgres:postgres@localhost/mlflow", "postgresql://localhost/mlflow", ("postgres@",)),
    ("postgresql://mlflow:mlflow@db:5432/mlflow", "postgresql://db:5432/mlflow", ("mlflow@",)),
    ("postgresql://h/db?user=bob@corp", "postgresql://h/db?user=bob@corp", ()),
    ("http://h:5000/prefix/user@x", "http://h:5000/prefix/user@x", ()),
    ("mysql://h/db?passwd=hunter2", f"mysql://h/db?passwd={credentials.LEFT_OUT}", ("hunter2",)),
    (
        "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Dhunter22%3B",
        f"mssql+pyodbc:///?odbc_connect={credentials.LEFT_OUT}",
        ("hunter22",),
    ),
    ("mysql://h/db?user=bob&password=hunter2", f"mysql://h/db?user=bob&password={credentials.LEFT_OUT}", ("hunter2",)),
    ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db", ()),
]


@pytest.mark.parametrize("package", WHERE)
@pytest.mark.parametrize(("uri", "shown", "secrets"), ADDRESSES)
def test_an_address_is_shown_without_its_user(monkeypatch, package, uri, shown, secrets):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    address = WHERE[package]
    assert address.shown_uri() == shown
    password = uri.partition("://")[2].rpartition("@")[0].partition(":")[2]
    for said in (
        f"API request to {uri}/api/2.0 failed",
        f"cannot read {uri}: no",
        f"authentication of {password} failed",
    ):
        assert not [secret for secret in secrets if secret in address.without_credentials(said)]


@pytest.mark.parametrize("package", WHERE)
def test_a_password_is_left_out_as_a_word_and_not_where_it_names_something(monkeypatch, package):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://bob:model@host/db")
    said = WHERE[package].without_credentials("models of runs/model: login with 'model' failed")
    assert said == f"models of runs/{credentials.LEFT_OUT}: login with '{credentials.LEFT_OUT}' failed"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://mlflow:mlflow@db/mlflow")
    assert WHERE[package].without_credentials("no table in mlflow") == "no table in mlflow"


@pytest.mark.parametrize("package", WHERE)
def test_other_addresses_lose_theirs_too(monkeypatch, package):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    said = "s3://a:b@c, http://bob:hun/ter2@h/x, https://h?token=abc&x=1, http://h:5000/user@x"
    shown = f"s3://c, http://h/x, https://h?token={credentials.LEFT_OUT}&x=1, http://h:5000/user@x"
    assert WHERE[package].without_credentials(said) == shown


@pytest.mark.parametrize(("uri", "shown", "secrets"), ADDRESSES)
def test_a_command_to_copy_has_no_password(monkeypatch, uri, shown, secrets):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    command = credentials.with_server("python runner.py loss")
    assert command.endswith(" python runner.py loss")
    assert command.startswith("MLFLOW_TRACKING_URI=... " if secrets else f"MLFLOW_TRACKING_URI={shlex.quote(uri)} ")


@pytest.mark.parametrize("package", WHERE)
@pytest.mark.parametrize(
    ("uri", "is_readable"),
    [
        ("http://[bad", False),
        ("http://u:hunter#2@host", False),
        ("postgresql://u:hun[ter@host/db", False),
        ("http://", False),
        ("http://[::1]:5000", True),
        ("postgresql:///mlflow?host=/run/postgresql", True),
        ("postgresql+psycopg://u:hunter#2@127.0.0.1:9/db", True),
        ("postgresql://bob:hun@ter2@h/db", False),
        ("postgresql://h:abc/db", False),
        ("mssql+pyodbc://h/db?driver=ODBC+Driver+18+for+SQL+Server", True),
        ("https://h/prefix/", True),
    ],
)
def test_what_is_no_address_is_found(package, uri, is_readable):
    assert WHERE[package].is_readable(uri) == is_readable

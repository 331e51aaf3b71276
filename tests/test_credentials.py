"""What looks like a credential is left out; what does not stays, letter for letter."""

import pytest

from segcore.credentials import (
    LEFT_OUT,
    clean_diff,
    clean_log,
    clean_reason,
    has_credential,
    is_secret_file,
    without_credentials,
)
from segcore.errors import MissingDataError, UserError


@pytest.mark.parametrize(
    "line",
    [
        "password = hunter2",
        "+PASSWORD='s3cr3t-value-9'",
        "-    db_password: str = 'x1234'",
        '+  "token": "abc"',
        "os.environ['AWS_SECRET_ACCESS_KEY'] = 'abc'",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "export WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567",
        "MLFLOW_TRACKING_PASSWORD=abc123!x",
        "Authorization: Bearer abcdef",
        "x = AKIAIOSFODNN7ABCDEFG",
        "url = https://user:pa55word@host/path",
        "x = ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "train --password hunter2",
        "MLFLOW_TRACKING_PASSWORD hunter2",
        "curl -u bob:hunter2 host",
        "sent Bearer abcdefgh1234",
    ],
)
def test_lines_that_hold_credentials(line):
    assert has_credential(line)


@pytest.mark.parametrize(
    "line",
    [
        "+x = 1",
        "+learning rate 1e-3, fingerprint 3f2a9b4c5d6e7f80aa11bb22",
        "def token_count(tokens): return len(tokens)",
        "index 1fe0265aa2c3d4e5f60718293a4b5c6d7e8f9012..3fe0265 100644",
        "password = getpass.getpass()",
        "+    secret = find_secret(x)",
        "see https://example.org/a?b=1 and me@example.org",
        "@@ -1,3 +1,4 @@ def token(",
        "server = 192.0.2.1",
        "per-token loss 0.5",
        "RAY_AUTH_TOKEN is not set",
        "epoch 1 of 3: train/loss 0.5, val/dice_per_image 0.7",
    ],
)
def test_lines_that_do_not(line):
    assert not has_credential(line)
    assert without_credentials(line) == line


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("data.root=https://me:secret@host:80/x", "data.root=https://host:80/x"),
        ("https:/me:secret@host/x", "https:/host/x"),  # an address that was made a path
        ("postgresql+psycopg://u:p%40w@h/db, s3://KEY:SECRET@bucket/a", "postgresql+psycopg://h/db, s3://bucket/a"),
        ("https://token@host", "https://host"),
        ("postgresql://u:p/w@h/db and s3://key:sec/ret@b", "postgresql://h/db and s3://b"),
        ("http://127.0.0.1:5000/a@b", "http://127.0.0.1:5000/a@b"),
        ("http://[::1]:5000/a@b", "http://[::1]:5000/a@b"),
        ("s3:/bucket:v1/path/file@2x.png", "s3:/bucket:v1/path/file@2x.png"),
        ("https://h/x?X-Amz-Signature=abc&y=1", f"https://h/x?X-Amz-Signature={LEFT_OUT}&y=1"),
        ("https://h/x?a=1&access_token=abc#z", f"https://h/x?a=1&access_token={LEFT_OUT}#z"),
        ("sqlite:////home/me/a@b/mlflow.db", "sqlite:////home/me/a@b/mlflow.db"),
    ],
)
def test_addresses_lose_user_and_key(text, clean):
    assert without_credentials(text) == clean
    assert str(UserError(f"{text}: wrong")) == str(MissingDataError(f"{text}: wrong")) == f"{clean}: wrong"


@pytest.mark.parametrize(
    "name",
    [".env", "a/.env.local", "deploy.pem", "id_rsa", "a b/id_ed25519.pub", ".aws/config", "credentials.json", "x.KEY"],
)
def test_files_of_credentials(name):
    assert is_secret_file(name)


@pytest.mark.parametrize("name", ["runner.py", "docs/environment.md", "a/keys.py", "experiments/loss.yaml", ""])
def test_other_files(name):
    assert not is_secret_file(name)


def test_of_a_private_key_every_line_is_left_out():
    diff = (
        "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1,5 @@\n x = 1\n+KEY = '''\n"
        "+-----BEGIN PRIVATE KEY-----\n+MIIEvQIBADANBg\n+-----END PRIVATE KEY-----\n+'''\n"
    )
    assert clean_diff(diff) == (
        "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1,5 @@\n x = 1\n+KEY = '''\n"
        f"+{LEFT_OUT}\n+{LEFT_OUT}\n+{LEFT_OUT}\n+'''\n"
    )


def test_of_a_private_key_in_a_log_every_line_is_left_out():
    log = "before\n-----BEGIN RSA PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END RSA PRIVATE KEY-----\nafter\n"
    assert clean_log(log).splitlines() == ["before", *3 * [LEFT_OUT], "after"]


def test_a_reason_tells_no_credential():
    assert clean_reason("no answer from https://me:hunter2@host/x") == "no answer from https://host/x"
    assert clean_reason("KeyError: password='hunter2' in line 3") == f"KeyError: {LEFT_OUT} in line 3"
    assert clean_reason("it said AKIAIOSFODNN7ABCDEFG") == LEFT_OUT
    assert clean_reason("no answer from https://me@host") == "no answer from https://host"
    sent = ("Authorization: Bearer", "authorization: Basic", "token: Bearer", "{'Authorization': 'Digest", "Bearer")
    for said in sent:
        cleaned = clean_reason(f"401: sent {said} abcdefghijklmnop1234")
        assert cleaned.startswith("401: sent ")
        assert LEFT_OUT in cleaned
        assert "abcdef" not in cleaned
    assert clean_reason("loss is nan in epoch 2") == "loss is nan in epoch 2"


@pytest.mark.parametrize("piece", ["http://", ":/a", "token", "x:", "PASSWORD_"])
def test_a_line_of_any_length_is_looked_through(piece):
    line = piece * 5_000  # it would take minutes, were a pattern quadratic
    assert without_credentials(line) == line
    assert not has_credential(line)


def test_a_diff_without_credentials_stays_as_it_is():
    diff = (
        "diff --git a/a.py b/a.py\nindex 1..2\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 'é'\n+x = 2\r\n\\ No newline"
    )
    assert clean_diff(diff) == diff
    assert clean_diff("") == ""


def test_a_log_loses_the_lines_that_hold_a_key_and_keeps_the_others():
    log = "epoch 1 of 3: loss 0.5\nGET https://me:hunter2@host/x failed\napi_key = 'abcdefgh12345678'\nsee https://me@host/x\nlast\n"
    cleaned = clean_log(log)
    assert cleaned.splitlines() == ["epoch 1 of 3: loss 0.5", LEFT_OUT, LEFT_OUT, "see https://host/x", "last"]

"""Addresses of Ray clusters that cannot be used."""

import pytest

from segcore.errors import UserError
from segcore.execution.ray_cluster import open_cluster

pytest.importorskip("ray", reason="needs requirements-ray.txt")


def test_an_address_where_nobody_listens_is_refused_at_once():
    with (
        pytest.raises(UserError, match=r"--address 127\.0\.0\.1:9: no Ray cluster answers there"),
        open_cluster("127.0.0.1:9", print),
    ):
        pass


@pytest.mark.parametrize("uri", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_an_address_of_the_environment_is_named_as_such(uri, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", uri)
    with pytest.raises(UserError, match=f"^RAY_ADDRESS={uri}: "), open_cluster(None, print):
        pass

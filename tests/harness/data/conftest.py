"""What was seen of pictures is kept in the user's cache: each test has its own."""

import pytest


@pytest.fixture(autouse=True)
def cache_home(monkeypatch, tmp_path_factory):
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home

# SPDX-License-Identifier: MIT
import pytest

import lab as e2e


def pytest_configure(config):
    config.addinivalue_line("markers", "threads: also run under ThreadSanitizer")


@pytest.fixture
def lab():
    if not e2e.VFERRY.exists():
        pytest.skip(f"no vferry in {e2e.BUILD}: build first")
    it = e2e.Lab()
    yield it
    it.close()

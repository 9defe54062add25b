"""One Chromium for all tests that need it. Whatever they do leaves its console empty."""

from collections.abc import Iterator

import pytest

from tests.browser.chromium import Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.driver.quit()


@pytest.fixture(autouse=True)
def silent(browser: Browser) -> Iterator[None]:
    browser.look(1400)
    browser.console()
    yield
    assert browser.console() == []

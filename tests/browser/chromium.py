"""A headless Chromium, driven by Selenium, and what tests do in it."""

from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """One window. `profile`: an empty folder for what Chromium keeps."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))

    def look(
        self, width: int, height: int = 900, scheme: str = "light", media: str = "", motion: str = "no-preference"
    ) -> None:
        """Sets the size of the window in CSS pixels, the colours, the medium (`print`) and whether motion is wanted."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def open(self, url: str) -> None:
        """Loads the page anew, and waits until it shows what its address names."""
        self.driver.get("about:blank")
        self.driver.get(url)
        self.settle()

    def go(self, route: str) -> None:
        """Follows an address within the page."""
        self.run("location.hash = arguments[0]", route)
        self.run("return new Promise((done) => setTimeout(done, 50))")  # the page hears of it in a task of its own
        self.settle()

    def settle(self) -> None:
        self.until(lambda: not self.all("#explorer[aria-busy]"))

    def frame(self) -> None:
        """Waits until the page has drawn what it changed."""
        self.run("return new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def until(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.driver, 10, 0.05).until(lambda _: condition())

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def first(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)"
        return list(self.run(script, selector))

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def route(self) -> str:
        return str(self.run("return location.hash"))

    def axe(self) -> list[tuple[str, ...]]:
        """What axe-core finds in the page as it is: rule, impact and the first element of each finding."""
        file = distribution("axe-playwright-python").locate_file("axe_playwright_python/axe.min.js")
        self.run(Path(str(file)).read_text(encoding="utf-8"))
        script = "return axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations)"
        return [(item["id"], item["impact"], item["nodes"][0]["html"][:200]) for item in self.run(script)]

    def open_details(self) -> None:
        self.run("for (const details of document.querySelectorAll('details')) details.open = true")

    def console(self) -> list[str]:
        """What the page wrote on its console since the last call, warnings of the browser among it."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


__all__ = ["Browser", "Keys"]

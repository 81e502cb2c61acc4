"""A Chromium that looks at the page of a real server."""

import subprocess
import sys

from conftest import ROOT, wait_until

environment = subprocess.run(["bash", "-c", ". tools/lib.sh && parity_venv page"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
sys.path.append(f"{environment}/lib/python3.11/site-packages")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

# Of a browser as people have it, but without a screen, and able to run as root in a container.
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1440,900", "--no-first-run", "--disable-background-networking")


class Browser:
    """One window; `address` is the server's, as Graft.http has it."""

    keys = Keys

    def __init__(self):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
        self.address = None

    def open(self, view="", address=None):
        """The view after '#/', on a page that is loaded anew."""
        self.address = address or self.address
        self.driver.get("about:blank")
        self.driver.get(f"http://{self.address}/#/{view}")

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return wait_until(lambda: self.all(selector), f"{selector} on {self.driver.current_url}")[0]

    def texts(self, selector):
        """Of all that match, at one moment."""
        return self.run("return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)", selector)

    def shows(self, text, selector="main"):
        """Waits until it stands there."""
        wait_until(lambda: any(text in found for found in self.texts(selector)), f"'{text}' in {selector}, not {self.texts(selector)}")

    def press(self, *keys):
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def click(self, selector, text=""):
        """The first that shows `text`."""
        wait_until(lambda: [one for one in self.all(selector) if text in one.text], f"{selector} with '{text}'")[0].click()

    def devtools(self, command, **parameters):
        return self.driver.execute_cdp_cmd(command, parameters)

    def width(self, pixels, height=844):
        self.devtools("Emulation.setDeviceMetricsOverride", width=pixels, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme):
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def errors(self):
        """What the console had to say since it was last asked; a refused request is told on the page."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE" and "Failed to load resource" not in entry["message"]]

    def quit(self):
        self.driver.quit()

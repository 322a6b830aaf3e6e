# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven by the DevTools protocol over a pipe."""

import base64
import json
import os
import select
import subprocess
import time

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
]
DEADLINE = 60


class Browser:
    def __init__(self, folder):
        self._log = open(os.path.join(folder, "chromium.log"), "wb")
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()

        def place():  # moves the ends of the pipe to 3 and 4, as --remote-debugging-pipe expects
            # Duplicates them first, because one of them may itself be 3 or 4.
            high = os.dup(to_child), os.dup(from_child)
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            ["chromium", *FLAGS, f"--user-data-dir={folder}/profile", "about:blank"],
            stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL,
            pass_fds=(3, 4, to_child, from_child), preexec_fn=place)
        os.close(to_child)
        os.close(from_child)
        self._buffer = b""
        self._next = 1
        self.events = []
        self._session = None
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        self._session = None
        self.call("Browser.close")
        self._process.wait(DEADLINE)

    def _message(self, deadline):
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise EOFError("the browser has ended")
            self._buffer += data
        text, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        number, self._next = self._next, self._next + 1
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + DEADLINE
        while True:
            answer = self._message(deadline)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def open(self, url):
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState == 'complete' && location.href != 'about:blank'")

    def hurry(self, times):
        """Makes the timers of all later pages run this many times as fast."""
        self.call("Page.addScriptToEvaluateOnNewDocument", source=f"""(() => {{
            const plain = window.setTimeout;
            window.setTimeout = (run, after, ...rest) => plain(run, after / {times}, ...rest);
        }})()""")

    def ask(self, expression):
        """The value of a JavaScript expression, also on a page whose scripts are disabled."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_for(self, expression):
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                if self.ask(expression):
                    return
            except RuntimeError:  # while another page loads
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"never true: {expression}; the page has: "
                                   f"{self.ask('document.body.innerText')}")
            time.sleep(0.05)

    def size(self, width, height, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=mobile)

    def scheme(self, value):
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": value}])

    def screenshot(self, path):
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def complaints(self):
        """Errors that the browser has logged since the page was opened."""
        found = []
        self.call("Runtime.getIsolateId")  # to receive all events until now
        for event in self.events:
            if event["method"] == "Runtime.exceptionThrown":
                found.append(event["params"]["exceptionDetails"])
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                found.append(event["params"]["entry"]["text"])
        return found

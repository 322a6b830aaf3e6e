#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""status_page.py PID COMMAND...: tests the status page of the guard with that pid, which
COMMAND starts again: on a large and a small screen, with and without JavaScript, in light and
dark mode, and while the status changes."""

import json
import os
import signal
import socket
import subprocess
import sys

from browser import Browser

# Names have at most 63 characters.
LONGEST = ("a-service-with-a-long-name-" * 3)[:63]
URL = "http://127.0.0.1:9829/"
folder = os.environ["NPG_FOLDER"]
pictures = os.environ.get("NPG_SCREENSHOTS", "")
guard_pid = int(sys.argv[1])
command = sys.argv[2:]
listeners = []
services = []


def conflict(name, port, address="127.0.0.1"):
    """Makes a listener, then a Service with its port as NodePort."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listeners.append(socket.create_server((address, port), family=family))
    services.append({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "a-namespace-of-some-length"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": port}]}})
    path = os.path.join(folder, "ports.json")
    with open(path + ".next", "w", encoding="utf-8") as file:
        json.dump({"apiVersion": "v1", "kind": "List", "items": services}, file)
    os.rename(path + ".next", path)


def picture(name):
    if pictures:
        browser.screenshot(os.path.join(pictures, name + ".png"))


def shows(text):
    return f"document.querySelector('main').innerText.includes({json.dumps(text)})"


# The lowest contrast of any text on the page, and its place; WCAG requires 4.5.
CONTRAST = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map(
        (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length < 4 || color[3] == 1) return color.slice(0, 3);
    }
    return [255, 255, 255];
  };
  let least = [21, ''];
  for (const element of document.body.querySelectorAll('*')) {
    const own = [...element.childNodes].some((n) => n.nodeType == 3 && n.data.trim());
    if (!own || element.tagName == 'SCRIPT' || element.tagName == 'NOSCRIPT') continue;
    const [a, b] = [light(parse(getComputedStyle(element).color).slice(0, 3)),
                    light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least[0]) least = [ratio, element.outerHTML.slice(0, 200)];
  }
  return least;
})()"""


def check_layout(name):
    width, inner = browser.ask("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner, f"{name}: {width} pixels wide on a screen of {inner}"
    picture(name)


def check_looks(name):
    for width, height, mobile in ((1280, 900, False), (768, 1024, True), (390, 844, True)):
        browser.size(width, height, mobile)
        for scheme in ("light", "dark"):
            browser.scheme(scheme)
            check_layout(f"{name}-{width}-{scheme}")
            ratio, where = browser.ask(CONTRAST)
            assert ratio >= 4.5, f"{name}, {scheme}: contrast {ratio:.2f}: {where}"
    browser.size(1280, 900)
    browser.scheme("light")


def check_structure():
    assert browser.ask("document.querySelectorAll('h1').length") == 1
    assert browser.ask("document.documentElement.lang") == "en"
    assert browser.ask("[...document.querySelectorAll('section')].every(s => s.matches('[aria-labelledby],[aria-label]'))")
    assert browser.ask("[...document.querySelectorAll('thead th')].every(h => h.scope == 'col' && h.innerText)")
    assert browser.ask("document.querySelectorAll('tbody tr').length > 0")
    assert browser.ask("[...document.querySelectorAll('tbody tr')].every(r => r.querySelector('th[scope=row]'))")
    # A badge has a sign and a word, not only a colour.
    assert browser.ask("[...document.querySelectorAll('.badge')].every(b => /\\S\\s+\\w/.test(b.textContent))")


browser = Browser(folder)
try:
    browser.size(1280, 900)
    # Faster timers, because the page polls every three seconds.
    browser.hurry(10)
    browser.open(URL)
    assert browser.ask(shows("No conflicts")), browser.ask("document.body.innerText")
    picture("empty")
    assert browser.ask("getComputedStyle(document.querySelector('.card')).borderRadius") != "0px", "no style"
    browser.ask("window.mark = 'the same page'")

    # The page shows changes without a reload.
    conflict(LONGEST, 33589)
    browser.wait_for(shows("33589/tcp"))
    conflict("web", 33590, "::1")
    browser.wait_for(shows("33590/tcp"))
    assert browser.ask(shows(LONGEST))
    assert browser.ask(shows("python3"))
    assert "2 conflicts" in browser.ask("document.title"), browser.ask("document.title")
    assert browser.ask("window.mark") == "the same page"
    for i in range(10):  # exempted connects, for the counters
        socket.create_connection(("127.0.0.1", 33589)).close()
    browser.wait_for("[...document.querySelectorAll('#conflicts td')].some(c => c.innerText.trim() == '10')")
    check_structure()
    assert not browser.complaints(), browser.complaints()
    check_looks("script")

    # A hidden page does not poll.
    browser.ask("""Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true});
                   window.away = true; document.dispatchEvent(new Event('visibilitychange'));
                   window.asked = 0; window.plain = fetch;
                   window.fetch = (...all) => { ++window.asked; return plain(...all); }; 1""")
    conflict("later", 33591)
    # Waits for two intervals, by a timer of the same page.
    browser.ask("window.over = false; setTimeout(() => { window.over = true; }, 6500); 1")
    browser.wait_for("window.over")
    assert browser.ask("window.asked") == 0, "polls while it is hidden"
    assert not browser.ask(shows("33591/tcp"))
    browser.ask("window.away = false; document.dispatchEvent(new Event('visibilitychange')); 1")
    browser.wait_for(shows("33591/tcp"))

    # The guard is killed and started again.
    os.kill(guard_pid, signal.SIGKILL)
    browser.wait_for("document.getElementById('lost').innerText.startsWith('Connection lost since')")
    assert browser.ask(shows("33591/tcp")), "the last status stays visible"
    check_looks("lost")
    guard = subprocess.Popen(command, stderr=open(os.path.join(folder, "log2"), "wb"))
    browser.wait_for("document.getElementById('lost').innerText == ''")
    browser.wait_for(shows("33591/tcp"))
    assert browser.ask("window.mark") == "the same page"

    # Without JavaScript the page has the same content, and the browser reloads it.
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(URL)
    for text in ("33589/tcp", "33590/tcp", "33591/tcp", "python3", "Data plane", "Counters"):
        assert browser.ask(shows(text)), text
    check_structure()
    check_looks("plain")
    conflict("last", 33592)
    browser.wait_for(shows("33592/tcp"))
    assert not browser.complaints(), browser.complaints()
    browser.close()
    guard.terminate()
    assert guard.wait(30) == 0
except Exception:
    for name in ("guard.log", "log2"):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            sys.stderr.write(f"{name}:\n" + open(path, encoding="utf-8", errors="replace").read())
    raise
print("the status page is correct")

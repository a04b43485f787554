"""Find a Chromium on this machine and start it; it reaches nothing but this machine."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.harness.services import absent

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = ("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",)
_AS_ROOT = ("--no-sandbox",)


@contextmanager
def started() -> Iterator[Browser]:
    """Yield a running browser; where there is none, the leg is absent."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        absent("Browser", f"none of {', '.join(NAMES)}; make test installs one as root on Debian")
    options = [*_OPTIONS, *(_AS_ROOT if os.geteuid() == 0 else ())]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()

"""Look at a page as those do who cannot see it well, at night, and on a phone."""

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

DESK, PHONE = (1280, 800), (360, 740)
# A theme changes nothing but colours.
_OF_COLOURS = ["color-contrast", "link-in-text-block"]
_FOUND = """options => axe.run({resultTypes: ['violations'], ...options}).then(found =>
    found.violations.filter(one => ['serious', 'critical'].includes(one.impact)).flatMap(one =>
        one.nodes.map(node => `${one.id}: ${node.html} ${node.failureSummary}`)))"""
_THEME = """dark => {
    document.documentElement.classList.toggle('dark', dark);
    document.getAnimations().forEach(one => one instanceof CSSTransition && one.finish());
}"""
_WIDTH = "() => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"


def faults(page: Page) -> list[str]:
    """Return a sentence for each thing that shuts somebody out of this page."""
    page.evaluate(AXE_SCRIPT)
    put_theme(page, dark=False)
    found = _axe(page, {})
    put_theme(page, dark=True)
    found += [f"dark {one}" for one in _axe(page, {"runOnly": _OF_COLOURS})]
    put_theme(page, dark=False)
    return found + _too_wide(page)


def put_theme(page: Page, *, dark: bool) -> None:
    """Change the theme in place; what would fade has faded."""
    page.evaluate(_THEME, dark)


def _axe(page: Page, options: dict[str, Any]) -> list[str]:
    found: list[str] = page.evaluate(_FOUND, options)
    return found


def _too_wide(page: Page) -> list[str]:
    show(page, PHONE)
    width = page.evaluate(_WIDTH)
    show(page, DESK)
    return [f"{width} px wide on a phone of {PHONE[0]}"] if width > PHONE[0] else []


def show(page: Page, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})

"""Ask a page's own browser how soon something was seen of it, and how heavy it is."""

from playwright.sync_api import Page

_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]"
_SENT = """() => [...performance.getEntriesByType('navigation'),
    ...performance.getEntriesByType('resource')].map(one => one.transferSize)"""


def first_paint_ms(page: Page) -> float:
    """Return when its first content was painted, in ms since it was asked for."""
    page.wait_for_function(f"() => {_PAINT}")
    found: float = page.evaluate(f"() => {_PAINT}.startTime")
    return found


def sent_bytes(page: Page) -> int:
    """Return its bytes with all that it loaded, as they were sent."""
    sent: list[int] = page.evaluate(_SENT)
    return sum(sent)

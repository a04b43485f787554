"""Every provider of the catalogue can be called, is tested by its protocol and is documented."""

import pytest

from llm_gateway.adapters import ADAPTERS
from llm_gateway.providers.catalog import CATALOG, Row
from tests.architecture.tree import PROJECT, text

GOLDEN = PROJECT / "tests" / "golden"
OPERATIONS = {"chat", "embeddings", "count_tokens"}

each_row = pytest.mark.parametrize("row", CATALOG.values(), ids=lambda row: row.kind)


@each_row
def test_a_row_resolves_to_adapters_that_have_golden_cases(row: Row) -> None:
    assert row.adapters
    assert row.adapters.keys() <= OPERATIONS
    for adapter in row.adapters.values():
        assert adapter in ADAPTERS
        assert any((GOLDEN / adapter).glob("*/request.json"))


@each_row
def test_a_row_can_be_reached_or_says_that_it_needs_an_address(row: Row) -> None:
    assert row.needs_base_url == (not row.base_url)
    assert row.key_optional or row.key_variable


@each_row
def test_a_row_has_its_line_in_the_docs(row: Row) -> None:
    page = text("docs/adding-a-provider.md")
    line = next((one for one in page.splitlines() if one.startswith(f"| `{row.kind}` |")), "")
    assert row.title in line
    # A price list, or the word that says where prices come from instead.
    assert (row.prices or "none:") in line
    for adapter in set(row.adapters.values()):
        assert f"`{adapter}`" in line

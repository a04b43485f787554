"""Every provider of the catalogue can be called, is tested by its protocol and is documented."""

import pytest

from llm_gateway.adapters import ADAPTERS, UPSTREAMS
from llm_gateway.providers.catalog import CATALOG, Row
from llm_gateway.types import Quirks
from tests.architecture.tree import PROJECT, text

GOLDEN, PROVIDERS = PROJECT / "tests" / "golden", PROJECT / "tests" / "golden_providers"
OPERATIONS = {
    *("chat", "responses", "completions", "embeddings"),
    *("count_tokens", "moderations", "rerank", "batches"),
}
# Quirks that are not the adapters': what every call has, batches, fees, schemas made to fit.
UNSEEN = {
    *("any_schema", "default_headers", "embeddings_batch", "embeddings_batch_bytes"),
    *("only_named", "request_fee"),
}

each_row = pytest.mark.parametrize("row", CATALOG.values(), ids=lambda row: row.kind)


@each_row
def test_a_row_resolves_to_adapters_that_have_golden_cases(row: Row) -> None:
    assert row.adapters
    assert row.adapters.keys() <= OPERATIONS
    for operation, adapter in row.adapters.items():
        assert adapter in UPSTREAMS
        if adapter in ADAPTERS:
            assert any((GOLDEN / adapter).glob("*/request.json"))
        else:
            asked = "*/request.*_embeddings.json" if operation == "embeddings" else "*/request.*"
            assert any((PROVIDERS / row.kind).glob(asked))


@each_row
def test_a_row_with_quirks_has_golden_cases_of_its_own(row: Row) -> None:
    shown = set(Quirks.__struct_fields__) - UNSEEN
    if any(getattr(row.quirks, name) != getattr(Quirks(), name) for name in shown):
        assert any((PROVIDERS / row.kind).glob("*/request.*.json"))


def test_every_golden_case_is_of_a_row() -> None:
    assert {folder.name for folder in PROVIDERS.iterdir()} <= CATALOG.keys()


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

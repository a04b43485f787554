"""Their export and our ledger are compared by day and model, and each difference has a cause."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from llm_gateway.insight.drift import (
    AGREES,
    CACHED,
    COUNTING,
    ESTIMATED,
    MISSING_HERE,
    MISSING_THERE,
    OTHER_KEY,
    PRICE,
    Cause,
    Ours,
    Theirs,
    cause,
    drift,
    undated,
)
from llm_gateway.insight.invoice_files import Stated, read_export
from llm_gateway.insight.invoices import compare, keep
from llm_gateway.models import InvoiceLine, Model, Provider, ProviderKey
from tenants.ids import new_id
from tenants.money.models import Entry
from tests.unit.insight.test_invoice_files import OPENAI_COST, OPENAI_USAGE

DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def ours(**fields: Any) -> Ours:
    known = {"requests": 10, "input_tokens": 1000, "output_tokens": 100, "cost_nano": 5000}
    return Ours(**{**known, "keys": 1, **fields})


def theirs(**fields: Any) -> Theirs:
    known = {"requests": 10, "input_tokens": 1000, "cached_tokens": 0, "output_tokens": 100}
    return Theirs(**{**known, "cost_nano": 5000, **fields})


KEYS = frozenset({"a", "b"})


@pytest.mark.parametrize(
    ("here", "there", "found"),
    [
        (ours(), theirs(), AGREES),
        (ours(), theirs(input_tokens=1005), AGREES),  # within half a percent
        (ours(), theirs(cost_nano=None), AGREES),
        (ours(), Theirs(cost_nano=5000), AGREES),
        (ours(), theirs(input_tokens=2000, requests=20), MISSING_HERE),
        (Ours(), theirs(), MISSING_HERE),
        (Ours(), Theirs(cost_nano=5), MISSING_HERE),
        (ours(), theirs(input_tokens=2000, requests=20, keys=KEYS), OTHER_KEY),
        (ours(keys=2), theirs(input_tokens=2000, requests=20, keys=KEYS), MISSING_HERE),
        (Ours(), theirs(keys=KEYS), OTHER_KEY),
        (ours(), theirs(keys=KEYS), AGREES),
        (ours(), theirs(requests=None, input_tokens=2000), MISSING_HERE),
        (ours(), theirs(input_tokens=1200), COUNTING),  # as many requests
        (ours(), theirs(input_tokens=500, requests=5), MISSING_THERE),
        (ours(), Theirs(), MISSING_THERE),
        (ours(estimated=300), Theirs(), MISSING_THERE),
        (ours(), Theirs(cost_nano=0), MISSING_THERE),
        (ours(estimated=300), theirs(input_tokens=1200), ESTIMATED),
        (ours(estimated=300), theirs(input_tokens=800), ESTIMATED),
        (ours(estimated=100), theirs(input_tokens=1200), COUNTING),
        (ours(estimated=300), theirs(cost_nano=9000), PRICE),  # the tokens agree
        (ours(), theirs(cost_nano=9000), PRICE),
        (ours(), theirs(cost_nano=3000, cached_tokens=400), CACHED),
        (ours(cached_tokens=400), theirs(cost_nano=9000, cached_tokens=0), CACHED),
        (ours(cached_tokens=400), theirs(cost_nano=9000, cached_tokens=401), PRICE),
        (ours(), Theirs(cost_nano=9000), PRICE),
    ],
)
def test_a_difference_has_its_likely_cause(here: Ours, there: Theirs, found: Cause) -> None:
    assert cause(here, there) == found


@pytest.mark.parametrize(
    ("here", "there", "share"),
    [(100, 110, 0.1), (100, 90, -0.1), (0, 0, 0.0), (0, 5, None), (5, None, None), (100, 0, -1.0)],
)
def test_drift_is_a_share_of_ours(here: int, there: int | None, share: float | None) -> None:
    assert drift(here, there) == share


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o", "gpt-4o"),
        ("Claude Haiku 4.5", "claude-haiku-4-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("gpt-3.5-turbo-0125", "gpt-3-5-turbo-0125"),
    ],
)
def test_models_are_compared_without_their_dates(name: str, plain: str) -> None:
    assert undated(name) == plain


# --- from the database ---------------------------------------------------------------------------


def entry(alias: str, deployment: int, writer_seq: int, **fields: Any) -> None:
    known: dict[str, Any] = {
        "tenant_id": 1,
        "request_id": new_id(),
        "attempt_no": 1,
        "deployment_id": deployment,
        "model": "smart",
        "kind": "attempt",
        "seq": 0,
        "outcome": "settled",
        "estimated": False,
        "amount_nano": 1_265_000,
        "hold_nano": 0,
        "usage": {"input": 110, "output": 25, "cache_read": 40},
        "writer_id": 1,
        "writer_seq": writer_seq,
        "created_at": NOON,
    }
    Entry.all_tenants_unsafe.using(alias).create(**{**known, **fields})


@pytest.fixture
def provider(alias: str) -> Provider:
    provider = Provider.objects.using(alias).create(name="openai", kind="openai")
    ProviderKey.objects.using(alias).create(provider=provider, name="main")
    return provider


def deployed(alias: str, provider: Provider, upstream_name: str) -> int:
    return (
        Model.objects.using(alias)
        .create(provider=provider, name="smart", upstream_name=upstream_name)
        .pk
    )


def test_the_ledger_of_a_day_is_set_against_both_exports(alias: str, provider: Provider) -> None:
    model = deployed(alias, provider, "gpt-4o-2024-08-06")
    entry(alias, model, 1, usage={"input": 100, "output": 20, "cache_read": 40}, amount_nano=10**6)
    entry(alias, model, 2, usage={"input": 10, "output": 5}, amount_nano=200_000)
    entry(alias, model, 3, kind="correction", seq=1, usage={"input": 9}, amount_nano=65_000)
    entry(alias, model, 4, created_at=NOON - timedelta(days=1))
    entry(alias, model + 1, 5)  # a deployment elsewhere
    entry(alias, model, 6, kind="cache_hit", amount_nano=0)
    for text in (OPENAI_USAGE, OPENAI_COST):
        keep(provider, read_export(text.splitlines(keepends=True)), using=alias)
    found = compare(provider, DAY, DAY + timedelta(days=1), using=alias)
    (row,) = found
    assert (row.day, row.model, row.cause) == (DAY, "gpt-4o", AGREES)
    assert (row.ours.requests, row.ours.input_tokens, row.ours.cached_tokens) == (2, 110, 40)
    assert (row.ours.cost_nano, row.theirs.cost_nano) == (1_265_000, 1_265_000)
    assert (row.tokens_drift, row.cost_drift) == (0.0, 0.0)


def test_days_and_models_of_either_side_are_listed(alias: str, provider: Provider) -> None:
    model = deployed(alias, provider, "o1")
    entry(alias, model, 1)
    keep(provider, read_export(OPENAI_USAGE.splitlines(keepends=True)), using=alias)
    found = compare(provider, DAY, DAY + timedelta(days=2), using=alias)
    assert [(row.day.day, row.model, row.cause.name) for row in found] == [
        (21, "gpt-4o-mini", "missing_here"),
        (20, "gpt-4o", "other_key"),  # two keys there, one of ours
        (20, "o1", "missing_there"),
    ]


def test_what_nobody_saw_end_is_estimated(alias: str, provider: Provider) -> None:
    model = deployed(alias, provider, "gpt-4o")
    guessed = {"input_token": 150, "output_token": 0}
    entry(alias, model, 1, outcome="orphan", estimated=True, usage=guessed)
    stated = Stated(day=DAY, model="gpt-4o", requests=1, input_tokens=110, output_tokens=25)
    keep(provider, [stated], using=alias)
    (row,) = compare(provider, DAY, DAY + timedelta(days=1), using=alias)
    assert (row.ours.tokens, row.ours.estimated, row.cause) == (150, 150, ESTIMATED)


def test_a_file_that_is_imported_again_replaces_what_it_said(
    alias: str, provider: Provider
) -> None:
    stated = Stated(day=DAY, model="gpt-4o", requests=1, input_tokens=110, output_tokens=25)
    keep(provider, [stated], using=alias)
    keep(provider, [Stated(day=DAY, model="gpt-4o", cost_nano=7)], using=alias)
    keep(provider, [Stated(day=DAY, model="gpt-4o", input_tokens=99)], using=alias)
    (line,) = InvoiceLine.objects.using(alias)
    assert (line.requests, line.input_tokens, line.output_tokens, line.cost_nano) == (1, 99, 25, 7)


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_command_imports_and_tells_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Provider.objects.create(name="openai", kind="openai")
    path = tmp_path / "usage.csv"
    path.write_text("\ufeff" + OPENAI_USAGE, "utf-8")
    call_command("import_invoice", str(path), provider="openai")
    told = capsys.readouterr().out
    assert "2026-11-20 gpt-4o: tokens 0 here, 135 there" in told
    assert "2 lines imported; 2 of 2 differ." in told


@pytest.mark.django_db
def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    path.write_bytes(b"model\n\xff\n")
    with pytest.raises(CommandError, match="No provider is named openai"):
        call_command("import_invoice", str(path), provider="openai")
    Provider.objects.create(name="openai", kind="openai")
    for content, says in ((b"\xff", "usage.csv"), (b"model\n", "lacks the column")):
        path.write_bytes(content)
        with pytest.raises(CommandError, match=says):
            call_command("import_invoice", str(path), provider="openai")
    path.write_text(OPENAI_COST.splitlines()[0] + "\n")
    with pytest.raises(CommandError, match="nothing was used"):
        call_command("import_invoice", str(path), provider="openai")
    with pytest.raises(CommandError, match="No such file"):
        call_command("import_invoice", str(tmp_path / "none.csv"), provider="openai")

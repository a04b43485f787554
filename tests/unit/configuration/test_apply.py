"""The database becomes equal to the file, all of it or nothing, and says what was done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings

from llm_gateway import models, vault
from llm_gateway.configuration import schema
from llm_gateway.configuration.apply import apply
from llm_gateway.configuration.changes import Report
from llm_gateway.configuration.document import ConfigurationError
from llm_gateway.configuration.export import export, read_database
from llm_gateway.configuration.load import parse
from tenants.keys import key_digest
from tenants.models import ApiKey, AuditEvent, RateLimit, Tenant
from tests.unit.configuration.files import API_KEY, EVERYTHING, files

pytestmark = pytest.mark.django_db

NOWHERE = Path("/nowhere")


def applied(text: str, *, prune: bool = False, plan: bool = False) -> Report:
    return apply(parse(text), folder=NOWHERE, actor="apply test.yml", prune=prune, plan=plan)


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


# --- what it does


def test_the_second_time_nothing_is_done() -> None:
    first = applied(EVERYTHING)
    second = applied(EVERYTHING)
    assert (first.unchanged, first.updated, first.removed) == (0, [], [])
    assert not second.differs
    assert second.keys == {}


def test_a_plan_says_the_same_and_does_nothing() -> None:
    planned = applied(EVERYTHING, plan=True)
    assert not Tenant.objects.exists()
    assert not AuditEvent.objects.exists()
    assert planned.keys == {}
    assert planned.created == applied(EVERYTHING).created


def test_keys_hold_only_what_was_generated() -> None:
    report = applied(EVERYTHING)
    assert list(report.keys) == ["acme/made"]
    made, dev = (ApiKey.all_tenants_unsafe.get(name=name) for name in ("made", "dev"))
    assert made.digest == key_digest(report.keys["acme/made"])
    assert dev.digest == key_digest(API_KEY)
    assert (made.prefix, dev.prefix) == (report.keys["acme/made"][:8], "a-ke")


def test_provider_secrets_are_sealed_and_open_again() -> None:
    applied(EVERYTHING)
    key = models.ProviderKey.objects.get(provider__name="openai", name="main")
    assert vault.reveal(key) == "sk-fake-000000000001"
    assert (key.last_four, key.origin) == ("0001", "http://127.0.0.1:8900")
    assert b"sk-fake" not in bytes(key.sealed or b"")


def test_a_new_value_replaces_a_secret() -> None:
    applied(EVERYTHING)
    report = applied(EVERYTHING.replace("sk-fake-2", "sk-fake-3"))
    assert report.updated == ["provider key openai/spare"]
    key = models.ProviderKey.objects.get(name="spare")
    assert vault.reveal(key) == "sk-fake-3"


def test_a_moved_provider_loses_what_the_file_does_not_give_again() -> None:
    applied(EVERYTHING)
    moved = EVERYTHING.replace(":8900", ":8901").replace("value: sk-fake-2, ", "")
    report = applied(moved)
    assert report.updated == ["provider openai", "provider key openai/main"]
    assert "provider key openai/spare has no secret: give it a value" in report.warnings
    main, spare = (
        models.ProviderKey.objects.get(name=n, provider__tenant=None) for n in ("main", "spare")
    )
    assert vault.reveal(main) == "sk-fake-000000000001"
    assert spare.sealed is None


def test_a_new_path_keeps_the_secrets() -> None:
    applied(EVERYTHING)
    report = applied(EVERYTHING.replace(":8900/v1", ":8900/v2"))
    assert report.updated == ["provider openai"]
    assert vault.reveal(models.ProviderKey.objects.get(name="spare")) == "sk-fake-2"


def test_a_changed_price_is_a_new_version() -> None:
    applied(EVERYTHING)
    report = applied(EVERYTHING.replace('"10.00"', '"12.00"'))
    assert report.created == ["price of model gpt-4o at mock from 2024-08-06"]
    versions = models.Price.objects.filter(model__provider__name="mock").order_by("pk")
    assert [version.output for version in versions] == [10 * 10**9, 12 * 10**9]


def test_prices_that_are_left_out_come_from_the_catalogue() -> None:
    applied(EVERYTHING)
    price = models.Price.objects.get(model__provider__name="openai", model__name="gpt-4o")
    assert (price.input, price.source) == (2_500_000_000, "genai-prices 0.2.3")
    assert not models.Price.objects.filter(model__name="own").exists()


def test_a_value_that_is_left_out_again_has_its_default() -> None:
    applied(EVERYTHING)
    applied(
        EVERYTHING.replace("time_zone: Europe/Berlin", "time_zone: UTC").replace(
            "weight: 2\n", "\n"
        )
    )
    assert Tenant.objects.get().time_zone == "UTC"
    assert models.Model.objects.get(provider__name="mock").weight == 1


def test_limits_that_are_left_out_again_go_but_not_those_of_the_console() -> None:
    applied("tenants: [{name: acme, rate_limits: {concurrency: 2}}]")
    assert applied("tenants: [{name: acme}]").removed == ["rate limits acme"]
    RateLimit.all_tenants_unsafe.create(tenant=Tenant.objects.get(), concurrency=5)
    assert applied("tenants: [{name: acme}]").removed == []


def test_what_the_console_switched_off_stays_off() -> None:
    applied(EVERYTHING)
    Tenant.objects.update(active=False)
    models.Provider.objects.update(enabled=False)
    assert not applied(EVERYTHING).differs
    assert not Tenant.objects.get().active
    applied(EVERYTHING.replace("  - name: acme\n", "  - name: acme\n    enabled: true\n"))
    assert Tenant.objects.get().active


def test_what_is_no_longer_named_stays_until_it_is_pruned() -> None:
    applied(
        "tenants: [{name: acme, keys: [{name: dev}], budgets: [{name: b, limit: 1}]}, {name: b}]"
    )
    kept = applied("tenants: [{name: b}]")
    assert (kept.removed, len(kept.left)) == ([], 3)
    pruned = applied("tenants: [{name: b}]", prune=True)
    assert pruned.removed == ["budget acme/b", "API key acme/dev", "tenant acme"]
    assert [tenant.name for tenant in Tenant.objects.all()] == ["b"]


def test_pruning_spares_what_the_console_made() -> None:
    Tenant.objects.create(name="by-hand")
    assert applied("tenants: [{name: b}]", prune=True).removed == []
    assert Tenant.objects.count() == 2


def test_what_the_console_made_becomes_the_files_when_it_is_named() -> None:
    Tenant.objects.create(name="acme")
    assert not applied("tenants: [{name: acme}]").differs
    assert applied("tenants: [{name: b}]", prune=True).removed == ["tenant acme"]


def test_one_name_may_stand_for_several_deployments() -> None:
    applied(EVERYTHING)
    assert models.Model.objects.filter(name="gpt-4o").count() == 2


def test_every_change_is_in_the_audit_without_secrets() -> None:
    report = applied(EVERYTHING)
    events = AuditEvent.objects.all()
    assert events.count() == len(report.created)
    assert {event.actor for event in events} == {"apply test.yml"}
    told = " ".join(str(event.changes) for event in events)
    assert "sk-fake" not in told
    assert API_KEY not in told
    assert key_digest(API_KEY) not in told
    applied(EVERYTHING.replace('limit: "100.00"', 'limit: "50.00"'))
    changed = AuditEvent.objects.first()
    assert changed is not None
    assert changed.changes == {"limit_nano": ["100.00", "50.00"]}
    assert (changed.action, changed.object_name, changed.tenant_name) == (
        "updated",
        "acme/monthly",
        "acme",
    )


def test_the_audit_shows_the_targets_of_a_route_before_and_after() -> None:
    applied(EVERYTHING)
    assert applied(EVERYTHING.replace("weight: 3", "weight: 4")).updated == ["route smart"]
    event = AuditEvent.objects.first()
    assert event is not None
    before, after = event.changes["targets"]
    assert (before[0]["weight"], after[0]["weight"]) == (3, 4)
    assert event.changes.keys() == {"targets"}


def test_what_is_not_in_force_yet_is_said() -> None:
    report = applied(
        "tenants: [{name: a, single_flight: true, cache: {enabled: true, semantic: true},"
        " guardrails: [{kind: pii, action: block}]}]"
    )
    text = "is stored, but not in force in this version"
    assert report.warnings == [f"tenants[0].cache.semantic: {text}"]


def test_an_allow_list_may_name_what_is_not_there_yet() -> None:
    report = applied("tenants: [{name: a, models: [later]}]")
    assert report.warnings == ["tenants[0].models: there is no model or route 'later'"]


# --- there and back


def test_an_export_says_everything_but_the_secrets() -> None:
    applied(EVERYTHING)
    text = export()
    assert "sk-fake" not in text
    assert API_KEY not in text
    assert "value" not in text
    assert not applied(text, prune=True).differs


def test_an_export_fills_an_empty_database_and_makes_new_keys() -> None:
    with undone():
        applied(EVERYTHING)
        text, before = export(), read_database()
    report = applied(text)
    assert read_database() == before
    assert list(report.keys) == ["acme/dev", "acme/made"]


def test_an_export_leaves_prices_to_the_catalogue() -> None:
    applied(EVERYTHING)
    of_catalogue, of_file, _ = read_database().models
    assert of_catalogue.prices is None
    assert of_file.prices is not None


def test_prices_that_were_taken_away_stay_away() -> None:
    text = "providers: [{name: o, kind: openai}]\nmodels: [{name: gpt-4o, provider: o}]"
    applied(text)
    unpriced = text.replace("provider: o}", "provider: o, prices: []}")
    assert applied(unpriced).created == ["price of model gpt-4o at o from 1970-01-01"]
    assert "prices: []" in export()
    assert not applied(export()).differs


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(file=files())
def test_any_configuration_comes_back_as_it_was(file: schema.File) -> None:
    with undone():
        apply(file, folder=NOWHERE, actor="apply test.yml")
        text = export()
        again = apply(parse(text), folder=NOWHERE, actor="apply test.yml", prune=True)
        assert not again.differs
        assert export() == text
    with undone():
        apply(parse(text), folder=NOWHERE, actor="apply test.yml")
        assert export() == text
        first = apply(file, folder=NOWHERE, actor="apply test.yml", prune=True)
        assert not first.differs


# --- what it refuses

FEW = f"""
providers: [{{name: mock, kind: mock}}]
models: [{{name: gpt-4o, provider: mock}}]
tenants: [{{name: acme, keys: [{{name: dev, value: {API_KEY}}}]}}]
"""
SPEND = "{name: b, limit: 1}"
TWO = f"{SPEND}, {{name: b2, limit: 1}}"
NINE = ", ".join(f"{{name: b{number}, limit: 1}}" for number in range(9))
OF_MODELS = ", ".join(f"{{name: c{number}, limit: 1, model: gpt-4o}}" for number in range(7))

WRONG = [
    ("version: 2", "version: a whole number from 1 to 1 is expected, not 2"),
    ("tenant: []", "tenant: unknown field; did you mean tenants?"),
    ("settings: {drain: 5}", "settings.drain: unknown field; did you mean drain_seconds?"),
    (
        "settings: {fallback_routes: [nope]}",
        "settings.fallback_routes[0]: there is no route 'nope'",
    ),
    ("providers: [{kind: openai}]", "providers[0].name: this field is missing"),
    ("providers: [{name: 'a b', kind: openai}]", "providers[0].name: 'a b' cannot be used; use"),
    ("providers: [{name: 5, kind: openai}]", "providers[0].name: text is expected here"),
    (
        "providers: [{name: a, kind: opnai}]",
        "providers[0].kind: 'opnai' is not known; did you mean openai?",
    ),
    (
        "providers: [{name: a, kind: openai}, {name: a, kind: mock}]",
        "providers[1]: the same is at providers[0] already",
    ),
    (
        "providers: [{name: a, kind: openai, base_url: 'http://llm.test/v1'}]",
        "providers[0].base_url: the URL must start with https://",
    ),
    (
        "providers: [{name: a, kind: openai, base_url: 'https://u:p@llm.test'}]",
        "providers[0].base_url: the URL must not carry a user name or password",
    ),
    (
        "providers: [{name: a, kind: openai, base_url: 'https://127.0.0.1'}]",
        "providers[0].base_url: 127.0.0.1 is not a public address",
    ),
    ("providers: [{name: a, kind: vllm}]", "providers[0].base_url: a provider of kind vllm needs"),
    (
        "providers: [{name: a, kind: openai, mock: {answer: x}}]",
        "providers[0].mock: only a provider of kind mock has this",
    ),
    (
        "providers: [{name: a, kind: openai, keys: [{value: env:MOBIUS_TEST_NOT_SET}]}]",
        "providers[0].keys[0].value: the environment variable MOBIUS_TEST_NOT_SET is not set",
    ),
    (
        "providers: [{name: a, kind: openai, keys: [{value: file:missing}]}]",
        "providers[0].keys[0].value: the file /nowhere/missing cannot be read",
    ),
    (
        'providers: [{name: a, kind: openai, keys: [{value: "a\\nb"}]}]',
        "providers[0].keys[0].value: the key holds a character that no header can carry",
    ),
    (
        "providers: [{name: a, kind: openai, timeouts: {connect: 0}}]",
        "providers[0].timeouts.connect: a number above 0 up to 86400 is expected, not 0",
    ),
    (
        "tenants: [{name: a, keys: [{name: k, timeouts: {connect: 1}}]}]",
        "tenants[0].keys[0].timeouts.connect",
    ),
    (
        "providers: [{name: a, kind: openai, retry: {strategy: often}}]",
        "providers[0].retry.strategy: 'often' is not known; use one of exponential",
    ),
    ("models: [{name: m, provider: nobody}]", "models[0].provider: there is no provider 'nobody'"),
    ("models: [{name: m, provider: mok}]", "there is no provider 'mok'; did you mean mock?"),
    (
        "models: [{name: m, provider: mock}, {name: m, provider: mock, upstream_name: m}]",
        "models[1]: the same is at models[0] already",
    ),
    (
        "models: [{name: m, provider: mock, prices: [{from: 2024-08-06, input: 2.5}]}]",
        "models[0].prices[0].input: write it as a quoted string",
    ),
    (
        "models: [{name: m, provider: mock, prices: [{from: August}]}]",
        "models[0].prices[0].from: 'August' is not a date such as 2027-01-31",
    ),
    (
        "models: [{name: m, provider: mock, capabilities: [chatting]}]",
        "models[0].capabilities[0]: 'chatting' is not known; did you mean chat?",
    ),
    (
        "models: [{name: m, provider: mock, quality: 101}]",
        "models[0].quality: a whole number from 0",
    ),
    ("routes: [{name: r}]", "routes[0].targets: this field is missing"),
    ("routes: [{name: r, targets: []}]", "routes[0].targets: a route needs one target or more"),
    (
        "routes: [{name: r, targets: [{model: gpt-4}]}]",
        "routes[0].targets[0].model: there is no model 'gpt-4'; did you mean gpt-4o?",
    ),
    (
        "routes: [{name: r, targets: [{model: gpt-4o}], on_context_length: [gpt-4]}]",
        "routes[0].on_context_length[0]: there is no model 'gpt-4'; did you mean gpt-4o?",
    ),
    (
        "routes: [{name: r, strategy: best, targets: [{model: gpt-4o}]}]",
        "routes[0].strategy: 'best' is not known; did you mean best_quality?",
    ),
    (
        "tenants: [{name: a, time_zone: Berlin}]",
        "tenants[0].time_zone: 'Berlin' is not a time zone",
    ),
    (
        f"tenants: [{{name: a, budgets: [{SPEND}, {SPEND}]}}]",
        "tenants[0].budgets[1]: the same is at",
    ),
    (
        "tenants: [{name: a, budgets: [{name: b}]}]",
        "tenants[0].budgets[0].limit: this field is missing",
    ),
    (
        "tenants: [{name: a, budgets: [{name: b, limit: 5.00}]}]",
        'tenants[0].budgets[0].limit: write it as a quoted string, such as "2.50"',
    ),
    (
        'tenants: [{name: a, budgets: [{name: b, limit: "-1"}]}]',
        "tenants[0].budgets[0].limit: '-1' is not an amount in US dollars",
    ),
    (
        "tenants: [{name: a, budgets: [{name: b, limit: 1, period: fortnight}]}]",
        "tenants[0].budgets[0].period: 'fortnight' is not known",
    ),
    (
        "tenants: [{name: a, budgets: [{name: b, limit: 1, model: nope}]}]",
        "tenants[0].budgets[0].model: there is no model or route 'nope'",
    ),
    (
        "tenants: [{name: a, budgets: [{name: b, limit: 1, per: team}]}]",
        "tenants[0].budgets[0].per: 'team' cannot be used; use end_user, run or tag.NAME",
    ),
    (f"tenants: [{{name: a, budgets: [{NINE}]}}]", "tenants[0].budgets: 9 budgets bind one call"),
    (
        f"tenants: [{{name: a, budgets: [{OF_MODELS}], keys: [{{name: k, budgets: [{TWO}]}}]}}]",
        "tenants[0].keys[0].budgets: 9 budgets of tenant, project and key bind one call; 8 may",
    ),
    (
        "tenants: [{name: a, members: [{email: nobody}]}]",
        "tenants[0].members[0].email: 'nobody' cannot be used; give an address",
    ),
    (
        "tenants: [{name: a, members: [{email: a@b.test, role: boss}]}]",
        "tenants[0].members[0].role: 'boss' is not known; use one of owner",
    ),
    (
        "tenants: [{name: a, keys: [{name: k, project: nope}]}]",
        "tenants[0].keys[0].project: there is no project 'nope'",
    ),
    (
        "tenants: [{name: a, keys: [{name: k, scopes: [everything]}]}]",
        "tenants[0].keys[0].scopes[0]: 'everything' is not known",
    ),
    (
        "tenants: [{name: a, keys: [{name: k, value: too-short}]}]",
        "tenants[0].keys[0].value: a key needs 20 or more characters",
    ),
    (
        "tenants: [{name: a, keys: [{name: k, value: wordwordwordwordwordw}]}]",
        "tenants[0].keys[0].value: a key is not one character or one word repeated",
    ),
    (
        f"tenants: [{{name: a, keys: [{{name: k, value: {API_KEY}}}]}}]",
        "tenants[0].keys[0].value: another key has this value",
    ),
    (
        "tenants: [{name: a, keys: [{name: k, expires: soon}]}]",
        "tenants[0].keys[0].expires: 'soon' is not a date such as 2027-01-31",
    ),
    (
        "tenants: [{name: a, rate_limits: {concurrency: 0}}]",
        "tenants[0].rate_limits.concurrency: a whole number from 1",
    ),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said[:50] for _, said in WRONG])
def test_a_wrong_configuration_is_refused_in_one_sentence_and_changes_nothing(
    text: str, said: str
) -> None:
    applied(FEW)
    before, events = read_database(), AuditEvent.objects.count()
    # A good part in front: nothing of it may stay either.
    good = "" if text.startswith("tenants") else "tenants: [{name: good}]\n"
    with pytest.raises(ConfigurationError) as raised:
        applied(good + text)
    (problem,) = raised.value.problems
    assert str(problem).startswith(said) or str(problem).endswith(said)
    assert "\n" not in str(problem)
    assert API_KEY not in str(problem)
    assert (read_database(), AuditEvent.objects.count()) == (before, events)

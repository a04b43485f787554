"""Check what a section says about others: names that must exist, be unique, fit together."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import asdict

from llm_gateway.configuration import schema
from llm_gateway.configuration.document import Problem, closest
from llm_gateway.configuration.guardrails import unfit
from llm_gateway.configuration.rows import guardrail_name
from llm_gateway.providers.addresses import AddressError
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.endpoint import check_reachable
from llm_gateway.providers.row import address_of
from tenants.buckets import MOST_BUCKETS, RUN_CEILING, most_at_once

Item = TypeVar("Item")


class Known(Struct, frozen=True):
    """Names that exist beside the file: rows of the database that stay."""

    providers: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()


def check(file: schema.File, known: Known) -> list[Problem]:
    """Return everything that does not fit together."""
    return [
        *_providers(file.providers, "providers", _tenant_names(file, known)),
        *_models(file, known),
        *_routes(file, known),
        *_unknown_routes(file, known),
        *_unique(file.tenants, "tenants", lambda tenant: tenant.name),
        *(
            problem
            for place, tenant in enumerate(file.tenants)
            for problem in _tenant(tenant, f"tenants[{place}]", _callable(file, known))
        ),
    ]


def unknown_in_allow_lists(file: schema.File, known: Known) -> Iterator[Problem]:
    """Return names in allow lists that nothing carries: no error, they allow nothing."""
    names = _callable(file, known)
    for place, tenant in enumerate(file.tenants):
        path = f"tenants[{place}]"
        yield from _unknown(tenant.models or (), f"{path}.models", names, "model or route")
        for number, key in enumerate(tenant.keys):
            at = f"{path}.keys[{number}].models"
            yield from _unknown(key.models or (), at, names, "model or route")


def _callable(file: schema.File, known: Known) -> frozenset[str]:
    return _model_names(file, known) | _route_names(file, known)


def _model_names(file: schema.File, known: Known) -> frozenset[str]:
    return known.models | {model.name for model in file.models}


def _route_names(file: schema.File, known: Known) -> frozenset[str]:
    return known.routes | {route.name for route in file.routes}


def _tenant_names(file: schema.File, known: Known) -> frozenset[str]:
    return known.tenants | {tenant.name for tenant in file.tenants}


def _providers(
    providers: Sequence[schema.Provider], path: str, payers: frozenset[str]
) -> Iterator[Problem]:
    """Check providers; `payers` are the tenants that may pay for probes of them."""
    yield from _unique(providers, path, lambda provider: provider.name)
    for place, provider in enumerate(providers):
        at = f"{path}[{place}]"
        yield from _unique(provider.keys, f"{at}.keys", lambda key: key.name)
        payer = provider.health_check.probe_as
        named = [payer] if payer else []
        yield from _unknown(named, f"{at}.health_check.probe_as", payers, "tenant")
        row, options = CATALOG[provider.kind], asdict(provider.options)
        try:
            check_reachable(
                provider.kind,
                address_of(row, provider.base_url or "", options),
                allow_private=provider.allow_private_network,
            )
        except AddressError as error:
            yield Problem(f"{at}.base_url", str(error))
        for name, value in options.items():
            if value is not None and name not in row.options:
                yield Problem(f"{at}.options.{name}", f"a {provider.kind} provider has none")
        if provider.mock is not None and provider.kind != "mock":
            yield Problem(f"{at}.mock", "only a provider of kind mock has this")


def _models(file: schema.File, known: Known) -> Iterator[Problem]:
    yield from _unique(
        file.models,
        "models",
        lambda model: (model.name, model.provider, model.upstream_name or model.name),
    )
    own = {
        f"{tenant.name}/{provider.name}" for tenant in file.tenants for provider in tenant.providers
    }
    providers = known.providers | own | {provider.name for provider in file.providers}
    for place, model in enumerate(file.models):
        path = f"models[{place}]"
        yield from _unknown([model.provider], f"{path}.provider", providers, "provider")
        days = model.prices or ()
        yield from _unique(days, f"{path}.prices", lambda price: price.valid_from)
        for number, price in enumerate(days):
            tiers = f"{path}.prices[{number}].tiers"
            yield from _unique(price.tiers, tiers, lambda tier: tier.above_input_tokens)


def _routes(file: schema.File, known: Known) -> Iterator[Problem]:
    yield from _unique(file.routes, "routes", lambda route: route.name)
    names = _model_names(file, known)
    for place, route in enumerate(file.routes):
        path = f"routes[{place}].targets"
        if not route.targets:
            yield Problem(path, "a route needs one target or more")
        for number, target in enumerate(route.targets):
            yield from _unknown([target.model], f"{path}[{number}].model", names, "model")
        for field in ("on_context_length", "on_content_policy"):
            at = f"routes[{place}].{field}"
            for number, name in enumerate(getattr(route, field)):
                yield from _unknown([name], f"{at}[{number}]", names, "model")


def _unknown_routes(file: schema.File, known: Known) -> Iterator[Problem]:
    names = _route_names(file, known)
    for place, name in enumerate(file.settings.fallback_routes):
        yield from _unknown([name], f"settings.fallback_routes[{place}]", names, "route")


def _tenant(tenant: schema.Tenant, path: str, models: frozenset[str]) -> Iterator[Problem]:
    yield from _providers(tenant.providers, f"{path}.providers", frozenset([tenant.name]))
    yield from _unique(tenant.guardrails, f"{path}.guardrails", guardrail_name)
    for place, guardrail in enumerate(tenant.guardrails):
        yield from unfit(guardrail, f"{path}.guardrails[{place}].")
    yield from _unique(tenant.projects, f"{path}.projects", lambda project: project.name)
    yield from _unique(tenant.members, f"{path}.members", lambda member: member.email)
    yield from _unique(tenant.keys, f"{path}.keys", lambda key: key.name)
    yield from _own_prices(tenant.prices, f"{path}.prices", models)
    of_tenant = schema.budgets_of(tenant)
    yield from _budgets(tenant.budgets, f"{path}.budgets", models, binding=of_tenant)
    for place, project in enumerate(tenant.projects):
        yield from _budgets(project.budgets, f"{path}.projects[{place}].budgets", models)
    projects = {project.name: project for project in tenant.projects}
    people = {member.email for member in tenant.members}
    for place, key in enumerate(tenant.keys):
        at = f"{path}.keys[{place}]"
        yield from _budgets(key.budgets, f"{at}.budgets", models)
        yield from _unknown(
            [key.project] if key.project else (), f"{at}.project", projects, "project"
        )
        yield from _unknown([key.holder] if key.holder else (), f"{at}.holder", people, "member")
        of_project = projects[key.project].budgets if key.project in projects else ()
        binding = [*of_tenant, *of_project, *key.budgets]
        if (buckets := most_at_once(budget.model for budget in binding)) > MOST_BUCKETS:
            yield Problem(
                f"{at}.budgets",
                f"{buckets} budgets of tenant, project and key bind one call; {MOST_BUCKETS} may",
            )


def _own_prices(
    prices: Sequence[schema.TenantPrice], path: str, models: frozenset[str]
) -> Iterator[Problem]:
    yield from _unique(prices, path, lambda price: (price.model, price.valid_from))
    for place, price in enumerate(prices):
        yield from _unknown([price.model], f"{path}[{place}].model", models, "model")
        tiers = f"{path}[{place}].tiers"
        yield from _unique(price.tiers, tiers, lambda tier: tier.above_input_tokens)


def _budgets(
    budgets: Sequence[schema.Budget],
    path: str,
    models: frozenset[str],
    *,
    binding: Sequence[schema.Budget] = (),
) -> Iterator[Problem]:
    """Check an owner's budgets; `binding` are those that bind its calls, if there are others."""
    yield from _unique(budgets, path, lambda budget: budget.name)
    for place, budget in enumerate(budgets):
        if budget.name == RUN_CEILING:
            text = f"{RUN_CEILING} is the ceiling of agent runs: say it as `budget` of `runs`"
            yield Problem(f"{path}[{place}].name", text)
        if budget.model is not None:
            yield from _unknown([budget.model], f"{path}[{place}].model", models, "model or route")
    if (buckets := most_at_once(budget.model for budget in binding or budgets)) > MOST_BUCKETS:
        yield Problem(path, f"{buckets} budgets bind one call; {MOST_BUCKETS} may")


def _unique(
    items: Sequence[Item], path: str, identity: Callable[[Item], Hashable]
) -> Iterator[Problem]:
    first: dict[Hashable, int] = {}
    for place, item in enumerate(items):
        if (before := first.setdefault(identity(item), place)) != place:
            yield Problem(f"{path}[{place}]", f"the same is at {path}[{before}] already")


def _unknown(names: Iterable[str], path: str, known: Iterable[str], what: str) -> Iterator[Problem]:
    known = frozenset(known)
    for name in names:
        if name not in known:
            yield Problem(path, f"there is no {what} {name!r}{closest(name, known)}")

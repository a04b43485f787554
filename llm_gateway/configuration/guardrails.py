"""Check what guardrails say, and let a tenant manage its own."""

from collections.abc import Iterator

from django.db.models import QuerySet
from typing_extensions import override

from llm_gateway.configuration import rows, schema
from llm_gateway.configuration.document import Problem
from llm_gateway.configuration.managed import Kind, Manager, Wire, check_whole_tenant
from llm_gateway.configuration.rows import Values
from llm_gateway.errors import InvalidRequestError
from llm_gateway.guardrails.patterns import check_patterns, check_words
from tenants.models import Guardrail, Tenant

MOST = 20
# What a kind has to say beside itself, and what it may.
_NEEDED = {"pattern": "patterns", "words": "words"}
_OWN = {"pii": "entities", **_NEEDED}


def unfit(section: schema.Guardrail, path: str = "") -> Iterator[Problem]:
    """Yield what a guardrail says too little, too much or wrong."""
    own, needed = _OWN.get(section.kind), _NEEDED.get(section.kind)
    for name in ("entities", "patterns", "words"):
        if name != own and getattr(section, name):
            yield Problem(f"{path}{name}", f"a guardrail of kind {section.kind} has none")
    if needed is not None and not getattr(section, needed):
        yield Problem(f"{path}{needed}", f"a guardrail of kind {section.kind} needs one or more")
    for name, check in (("patterns", check_patterns), ("words", check_words)):
        try:
            check(getattr(section, name))
        except ValueError as error:
            yield Problem(f"{path}{name}", str(error))


class Guardrails(Kind[Guardrail, schema.Guardrail]):
    noun = "guardrail"
    model, shape = Guardrail, schema.Guardrail

    @override
    def rows(self, who: Manager) -> QuerySet[Guardrail]:
        check_whole_tenant(who)
        found: QuerySet[Guardrail] = Guardrail.objects.of(who.tenant_id)
        return found

    @override
    def section(self, row: Guardrail) -> schema.Guardrail:
        return rows.guardrail_section(row)

    @override
    def values(self, who: Manager, section: schema.Guardrail) -> Values:
        check_whole_tenant(who)
        for problem in unfit(section):
            raise InvalidRequestError(str(problem), param=problem.path)
        return {"name": rows.guardrail_name(section), **rows.guardrail_values(section)}

    @override
    def made(self, row: Guardrail) -> Wire:
        # Whoever makes another one at this moment waits: together they would be too many.
        Tenant.objects.select_for_update().get(pk=row.tenant_id)
        if Guardrail.objects.of(row.tenant_id).count() >= MOST:
            raise InvalidRequestError(f"A tenant has at most {MOST} guardrails.")
        return {}

    @override
    def told(self, row: Guardrail) -> Wire:
        return {"id": row.pk, "name": row.name, "managed_by_file": row.managed_by_file}

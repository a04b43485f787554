"""Change what a tenant has, one row at a time, in the words of a configuration file.

Nobody makes anything that may do more than they may themselves: a key of a project manages that
project alone, and what binds the whole tenant is the operator's to say (security.md §3).
"""

from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from msgspec import Struct, structs
from typing_extensions import override

from llm_gateway import models
from llm_gateway.configuration import rows, schema
from llm_gateway.configuration.document import ConfigurationError, closest, plain, read
from llm_gateway.configuration.rows import Values
from llm_gateway.configuration.scalars import Email, Moment, Name, one_of, whole_number
from llm_gateway.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from tenants import audit, keys
from tenants import models as tenancy

Row = TypeVar("Row", bound=tenancy.Managed)
Section = TypeVar("Section", bound=Struct)
Wire = dict[str, Any]


class Manager(Struct, frozen=True, kw_only=True):
    """Who asks. `models` are those that its own key is held to, None where it is to none."""

    actor: str
    tenant_id: int
    project_id: int | None
    scopes: frozenset[str]
    models: frozenset[str] | None


class Key(Struct, frozen=True):
    name: Name
    project: Name | None = None
    models: tuple[Name, ...] | None = None
    scopes: tuple[Annotated[str, one_of("inference", "usage", "manage")], ...] = (
        "inference",
        "usage",
    )
    expires: Moment | None = None


class Rotation(Struct, frozen=True):
    """For how long the value before stays good."""

    grace_seconds: Annotated[int, whole_number(0, keys.LONGEST_GRACE_S)] = 0


class Project(Struct, frozen=True):
    name: Name


class Member(Struct, frozen=True):
    email: Email
    role: Annotated[str, one_of("member", "viewer")] = "viewer"


class Budget(schema.Budget, frozen=True, kw_only=True):
    """A budget of a project or of a key."""

    project: Name | None = None
    key: Name | None = None


class Limit(schema.RateLimits, frozen=True, kw_only=True):
    """The rate limits of a project or of a key."""

    project: Name | None = None
    key: Name | None = None


class Kind(Generic[Row, Section]):
    """One kind of thing that a tenant has; `field` is what it is named by in a path."""

    noun: str
    field = "pk"
    model: type[Row]
    shape: type[Section]

    def rows(self, who: Manager) -> QuerySet[Row]:
        """Return those that this manager may see."""
        raise NotImplementedError

    def section(self, row: Row) -> Section:
        raise NotImplementedError

    def values(self, who: Manager, section: Section) -> Values:
        """Return what the columns hold. Raises CallerError for what the manager may not say."""
        raise NotImplementedError

    def check(self, who: Manager, row: Row) -> None:
        """Raise CallerError where this row is not this manager's to change."""

    def told(self, row: Row) -> Wire:
        """Return what is shown beside the section."""
        raise NotImplementedError

    def made(self, row: Row) -> Wire:
        """Do what a new row needs before it is saved; return what is shown once."""
        del row
        return {}

    def moved(self, row: Row, values: Values) -> None:
        """Take from a row what does not outlast these values. Raises CallerError."""

    def put(self, row: Row, section: Section) -> None:
        """Put in what belongs to a row that is saved. Raises CallerError."""

    def removed(self, row: Row) -> str:
        """Remove a row; return what the audit calls that."""
        row.delete()
        return "removed"


class Keys(Kind[tenancy.ApiKey, Key]):
    noun, field = "key", "public_id"
    model, shape = tenancy.ApiKey, Key

    @override
    def rows(self, who: Manager) -> QuerySet[tenancy.ApiKey]:
        found: QuerySet[tenancy.ApiKey] = tenancy.ApiKey.objects.of(who.tenant_id)
        found = found.select_related("project")
        return found.filter(project_id=who.project_id) if who.project_id else found

    @override
    def section(self, row: tenancy.ApiKey) -> Key:
        known = rows.key_section(row)
        return Key(known.name, known.project, known.models, known.scopes, known.expires)

    @override
    def check(self, who: Manager, row: tenancy.ApiKey) -> None:
        if row.revoked_at is not None:
            raise InvalidRequestError("The key is revoked: make a new one.")

    @override
    def values(self, who: Manager, section: Key) -> Values:
        project = _project(who, section.project)
        if beyond := set(section.scopes) - who.scopes:
            raise PermissionDeniedError(
                f"Your own key has no scope {min(beyond)!r} to give.", param="scopes"
            )
        if who.models is not None and not set(section.models or ("",)) <= who.models:
            raise PermissionDeniedError(
                "Your own key is held to some models: name those, or some of them.", param="models"
            )
        full = schema.Key(
            section.name, None, section.project, section.models, section.scopes, section.expires
        )
        return {"name": section.name, **rows.key_values(full, project)}

    @override
    def told(self, row: tenancy.ApiKey) -> Wire:
        return {
            "id": row.public_id,
            "starts_with": row.prefix,
            "old_value_until": _moment(row.old_until),
            "revoked_at": _moment(row.revoked_at),
            "last_used_at": _moment(row.last_used_at),
        }

    @override
    def made(self, row: tenancy.ApiKey) -> Wire:
        return {"value": keys.issue(row)}

    @override
    def removed(self, row: tenancy.ApiKey) -> str:
        # The row stays: what it spent is known by it.
        row.revoked_at = timezone.now()
        row.save(update_fields=["revoked_at", "updated_at"])
        return "revoked"


class Projects(Kind[tenancy.Project, Project]):
    noun, field = "project", "name"
    model, shape = tenancy.Project, Project

    @override
    def rows(self, who: Manager) -> QuerySet[tenancy.Project]:
        found: QuerySet[tenancy.Project] = tenancy.Project.objects.of(who.tenant_id)
        return found.filter(pk=who.project_id) if who.project_id else found

    @override
    def section(self, row: tenancy.Project) -> Project:
        return Project(row.name)

    @override
    def check(self, who: Manager, row: tenancy.Project) -> None:
        check_whole_tenant(who)

    @override
    def values(self, who: Manager, section: Project) -> Values:
        check_whole_tenant(who)
        return {"name": section.name}

    @override
    def told(self, row: tenancy.Project) -> Wire:
        return {"keys": row.keys.filter(revoked_at=None).count()}

    @override
    def removed(self, row: tenancy.Project) -> str:
        if row.keys.filter(revoked_at=None).exists():
            # Without it they would be keys of the whole tenant.
            raise InvalidRequestError("The project has keys: revoke them first.")
        return super().removed(row)


class Members(Kind[tenancy.Member, Member]):
    noun = "member"
    model, shape = tenancy.Member, Member

    @override
    def rows(self, who: Manager) -> QuerySet[tenancy.Member]:
        check_whole_tenant(who)
        found: QuerySet[tenancy.Member] = tenancy.Member.objects.of(who.tenant_id)
        return found

    @override
    def section(self, row: tenancy.Member) -> Member:
        return Member(row.email, row.role)

    @override
    def check(self, who: Manager, row: tenancy.Member) -> None:
        if row.role in {"owner", "admin"}:
            raise PermissionDeniedError("A key changes no owners and admins.")

    @override
    def values(self, who: Manager, section: Member) -> Values:
        return {"email": section.email, "role": section.role}

    @override
    def told(self, row: tenancy.Member) -> Wire:
        return {"id": row.pk}


OwnedRow = TypeVar("OwnedRow", tenancy.Budget, tenancy.RateLimit)
OwnedSection = TypeVar("OwnedSection", Budget, Limit)


class Owned(Kind[OwnedRow, OwnedSection]):
    """What a project or a key holds; what the whole tenant holds is only shown."""

    @override
    def rows(self, who: Manager) -> QuerySet[OwnedRow]:
        found: QuerySet[OwnedRow] = self.model.objects.of(who.tenant_id)
        found = found.select_related("project", "api_key")
        if not who.project_id:
            return found
        own = Q(project_id=who.project_id) | Q(api_key__project_id=who.project_id)
        return found.filter(own)

    @override
    def check(self, who: Manager, row: OwnedRow) -> None:
        if row.project is None and row.api_key is None:
            raise PermissionDeniedError(f"A {self.noun} of the whole tenant is the operator's.")

    @override
    def values(self, who: Manager, section: OwnedSection) -> Values:
        project, key = self._owner(who, section)
        return {"project": project, "api_key": key, **self.own_values(who, section)}

    def own_values(self, who: Manager, section: OwnedSection) -> Values:
        raise NotImplementedError

    def _owner(
        self, who: Manager, section: OwnedSection
    ) -> tuple[tenancy.Project | None, tenancy.ApiKey | None]:
        if section.key is not None and section.project is not None:
            raise InvalidRequestError("Name a project or a key, not both.", param="key")
        if section.key is not None:
            found = Keys().rows(who).filter(name=section.key).first()
            if found is None:
                raise InvalidRequestError(f"There is no key {section.key!r}.", param="key")
            return None, found
        project = _project(who, section.project)
        if project is None:
            raise PermissionDeniedError(
                f"A {self.noun} of the whole tenant is the operator's: name a project or a key.",
                param="project",
            )
        return project, None

    @override
    def told(self, row: OwnedRow) -> Wire:
        return {"id": row.pk, "managed_by_file": row.managed_by_file}


class Budgets(Owned[tenancy.Budget, Budget]):
    noun = "budget"
    model, shape = tenancy.Budget, Budget

    @override
    def section(self, row: tenancy.Budget) -> Budget:
        project, key = _owner_names(row)
        return Budget(**structs.asdict(rows.budget_section(row)), project=project, key=key)

    @override
    def own_values(self, who: Manager, section: Budget) -> Values:
        if section.model is not None:
            _check_model(who, section.model)
        return {"name": section.name, **rows.budget_values(section)}


class Limits(Owned[tenancy.RateLimit, Limit]):
    noun = "limit"
    model, shape = tenancy.RateLimit, Limit

    @override
    def section(self, row: tenancy.RateLimit) -> Limit:
        project, key = _owner_names(row)
        return Limit(**structs.asdict(rows.rate_limits_section(row)), project=project, key=key)

    @override
    def own_values(self, who: Manager, section: Limit) -> Values:
        del who
        values = {name: getattr(section, name) for name in schema.RateLimits.__struct_fields__}
        if not any(values.values()):
            raise InvalidRequestError(
                "Say one limit or more, or remove it.", param="requests_per_minute"
            )
        return values


AnyKind = Kind[Any, Any]


# --- what is done to any of them


def shown(kind: AnyKind, row: tenancy.Managed) -> Wire:
    """Return a row as it is told: every field of its section, and what is known beside it."""
    section = kind.section(row)
    spelled = {field.encode_name: None for field in structs.fields(section)}
    defaults = {
        field.encode_name: field.default
        for field in structs.fields(section)
        if isinstance(field.default, str | int | float | bool | tuple)
    }
    return {**spelled, **defaults, **plain(section), **kind.told(row)}


def find(kind: AnyKind, who: Manager, name: str) -> Any:  # noqa: ANN401 - a row of that kind
    """Return one row. Raises NotFoundError, also for another tenant's."""
    try:
        row = kind.rows(who).filter(**{kind.field: name}).first()
    except ValueError:  # no number
        row = None
    if row is None:
        raise NotFoundError(f"There is no {kind.noun} {name[:128]!r}.")
    return row


@transaction.atomic
def create(kind: AnyKind, who: Manager, body: Wire) -> Wire:
    """Make a row. Raises CallerError naming the field."""
    section = _read(kind.shape, body)
    row = kind.model(tenant_id=who.tenant_id, **kind.values(who, section))
    once = kind.made(row)
    _save(row)
    kind.put(row, section)
    audit.record(who.actor, "created", row, None, audit.fields_of(row))
    return shown(kind, row) | once


@transaction.atomic
def change(kind: AnyKind, who: Manager, name: str, body: Wire) -> Wire:
    """Change the fields that are given; null is the default. Raises CallerError."""
    row = find(kind, who, name)
    kind.check(who, row)
    before = audit.fields_of(row)
    section = _read(kind.shape, plain(kind.section(row)) | body)
    values = kind.values(who, section)
    for owner in ("project", "api_key"):
        if isinstance(row, tenancy.Owned) and values[owner] != getattr(row, owner):
            raise InvalidRequestError(f"A {kind.noun} stays with its owner: make another one.")
    kind.moved(row, values)
    for column, value in values.items():
        setattr(row, column, value)
    _save(row)
    kind.put(row, section)
    audit.record(who.actor, "updated", row, before, audit.fields_of(row))
    return shown(kind, row)


@transaction.atomic
def remove(kind: AnyKind, who: Manager, name: str) -> None:
    """Remove a row, or end it where it has to stay. Raises CallerError."""
    row = find(kind, who, name)
    kind.check(who, row)
    before, pk = audit.fields_of(row), row.pk
    done = kind.removed(row)
    row.pk = pk  # Django takes it away from what it deletes
    audit.record(who.actor, done, row, before, None if done == "removed" else audit.fields_of(row))


@transaction.atomic
def rotate(who: Manager, name: str, body: Wire) -> Wire:
    """Give a key a new value; the old one ends after the grace of the body. Raises CallerError."""
    wanted = _read(Rotation, body)
    kind = Keys()
    row = find(kind, who, name)
    kind.check(who, row)
    before = audit.fields_of(row)
    value = keys.rotate(row, grace_s=wanted.grace_seconds, now=timezone.now())
    row.save(update_fields=keys.ISSUED)
    audit.record(who.actor, "rotated", row, before, audit.fields_of(row))
    return shown(kind, row) | {"value": value}


def _read(shape: type[Section], body: Wire) -> Section:
    try:
        return read(shape, body)
    except ConfigurationError as error:
        first = error.problems[0]
        raise InvalidRequestError(
            str(first), param=first.path, detail={"problems": list(map(str, error.problems))}
        ) from None


def _save(row: tenancy.Managed) -> None:
    """Save what is valid. Raises InvalidRequestError naming the field."""
    try:
        row.full_clean()
        with transaction.atomic():
            row.save()
    except ValidationError as error:
        field, texts = next(iter(error.message_dict.items()))
        param = None if field == NON_FIELD_ERRORS else field
        raise InvalidRequestError(" ".join(texts), param=param) from None
    except IntegrityError:
        raise InvalidRequestError("The same is there already.", param="name") from None


def _project(who: Manager, name: str | None) -> tenancy.Project | None:
    """Return the project that is meant; a manager of one means that one."""
    known = Projects().rows(who)
    if name is None:
        return known.first() if who.project_id else None
    found = known.filter(name=name).first()
    if found is None:
        names = known.values_list("name", flat=True)
        raise InvalidRequestError(
            f"There is no project {name!r}{closest(name, names)}.", param="project"
        )
    return found


def check_whole_tenant(who: Manager) -> None:
    """Raise PermissionDeniedError for who manages one project alone."""
    if who.project_id:
        raise PermissionDeniedError("Your key is of a project: it manages that project alone.")


def _check_model(who: Manager, name: str) -> None:
    # A model at another tenant's own provider is not even named.
    served = Q(provider__tenant=None) | Q(provider__tenant=who.tenant_id)
    known = {
        *models.Model.objects.filter(served).values_list("name", flat=True),
        *models.Route.objects.values_list("name", flat=True),
    }
    if name not in known:
        raise InvalidRequestError(
            f"There is no model or route {name!r}{closest(name, known)}.", param="model"
        )


def _owner_names(row: tenancy.Owned) -> tuple[str | None, str | None]:
    return row.project.name if row.project else None, row.api_key.name if row.api_key else None


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()

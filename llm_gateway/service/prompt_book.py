"""Keep tenants' prompts: a name, and what it said from version to version; none is ever changed."""

import re
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from msgspec import Struct

from llm_gateway.errors import InvalidRequestError, NotFoundError
from llm_gateway.models import Prompt, PromptVersion
from llm_gateway.prompts import templates
from tenants import audit

Wire = dict[str, Any]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MOST_PROMPTS = 1_000  # of a tenant


class Draft(Struct, frozen=True, kw_only=True):
    """What a version is to say, judged already."""

    messages: list[Wire]
    defaults: Mapping[str, Any] = {}


def draft_of(messages: object, defaults: object) -> Draft:
    """Return what a caller wants to keep. Raises InvalidRequestError naming the field."""
    checked = templates.check_messages(messages)
    if defaults is None:
        return Draft(messages=checked)
    if not isinstance(defaults, dict):
        raise InvalidRequestError("'defaults' must be an object of values.", param="defaults")
    places = templates.names_of(checked)
    for name, value in defaults.items():
        if name not in places:
            raise InvalidRequestError(
                f"The prompt has no place for '{name}'.", param=f"defaults.{name}"
            )
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidRequestError(
                f"The value of '{name}' must be a text or a number.", param=f"defaults.{name}"
            )
    return Draft(messages=checked, defaults=defaults)


def find(tenant_id: int, name: str) -> Prompt:
    """Return a tenant's prompt. Raises NotFoundError."""
    row: Prompt | None = Prompt.objects.of(tenant_id).filter(name=name).first()
    if row is None:
        raise NotFoundError(f"There is no prompt {name[:128]!r}.")
    return row


def version_of(prompt: Prompt, number: int | None = None) -> PromptVersion:
    """Return one version, without a number the latest. Raises NotFoundError."""
    rows = prompt.versions.order_by("-number")
    row = (rows if number is None else rows.filter(number=number)).first()
    if row is None:
        raise NotFoundError(f"The prompt {prompt.name!r} has no version {number}.")
    return row


def create(actor: str, tenant_id: int, name: object, description: str, draft: Draft) -> Prompt:
    """Keep a new prompt. Raises InvalidRequestError where the name is taken or is none."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidRequestError(
            "'name' must be 1 to 128 letters, digits and . _ - .", param="name"
        )
    if Prompt.objects.of(tenant_id).count() >= MOST_PROMPTS:
        raise InvalidRequestError(f"A tenant keeps at most {MOST_PROMPTS} prompts.")
    try:
        with transaction.atomic():
            row = Prompt.all_tenants_unsafe.create(
                tenant_id=tenant_id, name=name, description=description
            )
            _add(row, 1, draft)
            audit.record(actor, "created", row, after=audit.fields_of(row))
    except IntegrityError:
        raise InvalidRequestError(f"There is a prompt {name!r} already.", param="name") from None
    return row


def change(actor: str, prompt: Prompt, description: str | None, draft: Draft) -> PromptVersion:
    """Keep what a prompt says from now on; nothing new is no new version."""
    with transaction.atomic():
        # One writer at a time: versions are numbered without gaps.
        Prompt.objects.of(prompt.tenant_id).select_for_update().get(pk=prompt.pk)
        before, latest = audit.fields_of(prompt), version_of(prompt)
        if (latest.messages, latest.defaults) != (draft.messages, dict(draft.defaults)):
            latest = _add(prompt, latest.number + 1, draft)
        if description is not None:
            prompt.description = description
        prompt.save()
        after = {**audit.fields_of(prompt), "version": latest.number}
        audit.record(actor, "updated", prompt, before, after)
    return latest


def remove(actor: str, prompt: Prompt) -> None:
    with transaction.atomic():
        audit.record(actor, "removed", prompt, before=audit.fields_of(prompt))
        prompt.delete()


def filled(tenant_id: int, wanted: object) -> list[Wire]:
    """Return the messages that `prompt_template` stands for: a name, or name and variables.

    Raises InvalidRequestError or NotFoundError naming the field.
    """
    asked = {"name": wanted} if isinstance(wanted, str) else wanted
    if not isinstance(asked, dict) or not isinstance(asked.get("name"), str):
        raise _wrong("a name, or an object with 'name', 'version' and 'variables'")
    for field in asked.keys() - {"name", "version", "variables"}:
        raise InvalidRequestError(
            f"'prompt_template.{field}' is not a parameter.", param=f"prompt_template.{field}"
        )
    number, variables = asked.get("version"), asked.get("variables") or {}
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise _wrong("with a whole number as 'version'")
    if not isinstance(variables, dict):
        raise _wrong("with an object as 'variables'")
    row = version_of(find(tenant_id, asked["name"]), number)
    return templates.filled(row.messages, variables, row.defaults)


def _add(prompt: Prompt, number: int, draft: Draft) -> PromptVersion:
    return PromptVersion.objects.create(
        prompt=prompt, number=number, messages=draft.messages, defaults=dict(draft.defaults)
    )


def _wrong(wanted: str) -> InvalidRequestError:
    return InvalidRequestError(f"'prompt_template' must be {wanted}.", param="prompt_template")

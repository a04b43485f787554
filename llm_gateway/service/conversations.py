"""Keep what a tenant's people and models said to each other, sealed; it grows turn by turn."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from llm_gateway.errors import InvalidRequestError, NotFoundError
from llm_gateway.models import Conversation, ConversationMessage
from tenants.secrets import rewrap, seal, unseal

Wire = dict[str, Any]

MOST_MESSAGES = 10_000
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


def find(tenant_id: int, name: object) -> Conversation:
    """Return a tenant's conversation by its id. Raises NotFoundError."""
    row: Conversation | None = Conversation.objects.of(tenant_id).filter(pk=_id(name)).first()
    if row is None:
        raise NotFoundError("There is no such conversation.", param="conversation")
    return row


def create(tenant_id: int, title: str = "") -> Conversation:
    return Conversation.all_tenants_unsafe.create(tenant_id=tenant_id, title=title)


def history(conversation: Conversation) -> list[Wire]:
    """Return all messages in their order."""
    return [opened(row, conversation) for row in conversation.messages.order_by("position")]


def opened(row: ConversationMessage, conversation: Conversation) -> Wire:
    """Return what a message says. Raises SecretError where its master key is gone."""
    message: Wire = msgspec.json.decode(
        unseal(bytes(row.sealed), *_bound(conversation, row.position))
    )
    return message


def append(conversation: Conversation, messages: Sequence[Wire], request_id: UUID | None) -> None:
    """Add a turn behind all others. Raises InvalidRequestError where it has too many."""
    with transaction.atomic():
        # One turn at a time: two that end at once come one after the other.
        rows = Conversation.objects.of(conversation.tenant_id).select_for_update()
        held = rows.filter(pk=conversation.pk).first()
        if held is None:
            return  # removed meanwhile: there is nothing left to add to
        last = held.messages.aggregate(last=Max("position"))["last"]
        first = 0 if last is None else last + 1
        check_room(first + len(messages))
        ConversationMessage.objects.bulk_create(
            ConversationMessage(
                conversation=held,
                position=position,
                role=str(message["role"]),
                sealed=seal(msgspec.json.encode(message), *_bound(held, position)),
                request_id=request_id,
            )
            for position, message in enumerate(messages, first)
        )
        held.updated_at = timezone.now()
        held.save()


def check_room(count: int) -> None:
    """Raise InvalidRequestError for more messages than a conversation holds."""
    if count > MOST_MESSAGES:
        raise InvalidRequestError(
            f"A conversation holds at most {MOST_MESSAGES} messages.", param="conversation"
        )


def rewrap_all() -> int:
    """Wrap every message anew under the first master key; return how many. Raises SecretError."""
    rows = ConversationMessage.objects.select_related("conversation").order_by("pk")
    for row in rows.iterator():
        row.sealed = rewrap(bytes(row.sealed), *_bound(row.conversation, row.position))
        row.save(update_fields=["sealed"])
    return rows.count()


def check_messages(messages: object) -> list[Wire]:
    """Return messages to begin a conversation with. Raises InvalidRequestError naming the field."""
    if not isinstance(messages, list):
        raise InvalidRequestError("'messages' must be a list of messages.", param="messages")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise InvalidRequestError(
                f"'messages[{place}]' must have a role: {', '.join(sorted(ROLES))}.",
                param=f"messages[{place}]",
            )
    return messages


def _id(name: object) -> UUID:
    try:
        return UUID(str(name))
    except ValueError:
        raise NotFoundError("There is no such conversation.", param="conversation") from None


def _bound(conversation: Conversation, position: int) -> tuple[object, ...]:
    return conversation.tenant_id, "conversation", conversation.pk, position

"""Keep what the configuration was: one state for each change, whoever made it, the newest 500.

A state is kept when the counter of changes has moved and the exported file is another one. So it
does not matter what changed the database: a file, the console, the API or SQL.
"""

import difflib
import logging
import zlib

from django.db.models import Max
from django.utils import timezone

from llm_gateway.configuration.document import ConfigurationError
from llm_gateway.configuration.export import export
from llm_gateway.models import ConfigurationState
from tenants.database import configuration_models
from tenants.models import AuditEvent, ConfigVersion

MOST_STATES = 500
_MOST_NAMED = 5
_CONTEXT = 6  # lines around a difference: an object's name stands above its fields

log = logging.getLogger(__name__)


def keep_state() -> None:
    """Keep the configuration if it is not what the newest state says; forget what is too old.

    Any number of processes may do so at once, and a transaction, of which it is a part then.
    """
    last = ConfigurationState.objects.first()
    version = counted()
    if last is not None and last.version == version:
        return
    try:
        text = export()
    except ConfigurationError as error:
        log.warning("The configuration cannot be kept as a state: %s", error)
        return
    if counted() != version:
        return  # read in the middle of a change: the next time will do
    if last is not None and last.text == text:
        ConfigurationState.objects.filter(pk=last.pk).update(version=version)
    else:
        _insert(last, text, version)


def counted() -> int:
    """Return how often the configuration was changed."""
    return ConfigVersion.objects.values_list("version", flat=True).first() or 0


def difference(before: str, after: str) -> list[str]:
    """Return the lines of a unified diff without its head; none where the texts are equal."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=_CONTEXT, lineterm="")
    return list(lines)[2:]


def before(state: ConfigurationState) -> ConfigurationState | None:
    """Return the state that was in force before this one, if it is still kept."""
    return ConfigurationState.objects.filter(number__lt=state.number).first()


def _insert(last: ConfigurationState | None, text: str, version: int) -> None:
    number = last.number + 1 if last is not None else 1
    made_by, last_event = _made_by(last)
    state = ConfigurationState(
        number=number,
        at=timezone.now(),
        made_by=made_by,
        last_event=last_event,
        version=version,
        document=zlib.compress(text.encode()),
    )
    # Whoever comes second with a number leaves it: what they saw is compared the next time.
    ConfigurationState.objects.bulk_create([state], ignore_conflicts=True)
    ConfigurationState.objects.filter(number__lte=number - MOST_STATES).delete()


def _made_by(last: ConfigurationState | None) -> tuple[str, int]:
    """Return who made the changes since a state, and the last event of the audit that says so.

    Nobody, for the first state there is, and for what no audit knows, such as SQL by hand.
    """
    events = AuditEvent.objects.filter(
        object_type__in=[model._meta.model_name for model in configuration_models()]  # noqa: SLF001 - Django's public model API
    )
    if last is None:
        return "", events.aggregate(last=Max("pk"))["last"] or 0
    new = events.filter(pk__gt=last.last_event)
    newest = new.aggregate(last=Max("pk"))["last"] or last.last_event
    actors = list(new.order_by("actor").values_list("actor", flat=True).distinct())
    more = f" and {len(actors) - _MOST_NAMED} more" if len(actors) > _MOST_NAMED else ""
    return (", ".join(actors[:_MOST_NAMED]) + more)[:254], newest

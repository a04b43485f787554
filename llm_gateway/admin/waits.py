"""Edit how long requests of a route or a key may wait."""

from llm_gateway.admin.providers import fits
from llm_gateway.configuration import schema
from llm_gateway.models import WAITS_HELP
from tenants.admin.forms import RecordField, number


def waits() -> RecordField:
    return RecordField(
        {name: number() for name in schema.Waits.__struct_fields__},
        check=fits(schema.Waits),
        help_text=WAITS_HELP,
    )

"""Post a letter of the tenancy side to whoever it is for, through the one way out.

Each opens its own way out and closes it: it is sent from a thread of its own and not from the loop
that serves. Nothing here is billed.
"""

from asgiref.sync import async_to_sync

from llm_gateway.errors import GatewayError
from llm_gateway.providers.addresses import AddressError
from llm_gateway.providers.egress import Egress
from llm_gateway.providers.endpoint import Endpoint
from llm_gateway.types import Outgoing, Timeouts
from llm_gateway.version import VERSION
from tenants.alerts.sending import Letter, NotDeliveredError

# A receiver only has to take a message in; what it does with it is its own time.
TIMEOUTS = Timeouts(connect=5.0, first_token=10.0, idle=10.0, total=10.0)


def post_webhook(letter: Letter) -> int:
    """Return the status of the answer. Raises NotDeliveredError where none came."""
    try:
        return async_to_sync(_post)(letter)
    except AddressError as error:
        raise NotDeliveredError(f"{error}.") from None
    except GatewayError as error:
        # The way out calls everyone it talks to a provider.
        raise NotDeliveredError(error.message.replace("The provider", "The address")) from None


async def _post(letter: Letter) -> int:
    endpoint = Endpoint(
        provider_id=0,  # none: the way out is opened for this one call
        base_url=letter.origin,
        protocol="webhook",
        auth="none",
        allow_private_network=letter.allow_private_network,
    )
    outgoing = Outgoing(path=letter.path, body=letter.body, headers=letter.headers)
    egress = Egress(version=VERSION)
    try:
        answer = await egress.free_call(endpoint, "POST", outgoing, None, TIMEOUTS)
    finally:
        await egress.close()
    return answer.status

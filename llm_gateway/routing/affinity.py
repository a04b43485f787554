"""Lead what belongs together to the same deployment, without remembering where it went.

Each deployment draws from the name of what belongs together and from itself alone (rendezvous
hashing, Thaler and Ravishankar 1996): every process draws the same, nothing is shared or lost at a
restart, and where a deployment comes or goes only what it serves moves. The draws stand in for
chance, so weights hold.
"""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from msgspec import Struct

WARM_S = 300.0  # as long as providers keep the beginning of a prompt, at least
MOST_WARM = 4096

Draw = Callable[[str, int], float]


class Belongs(Struct, frozen=True):
    """The name of what a request belongs together with, a tenant's own.

    `beginning` is how many bytes of prompt that is; 0 where it is no prompt.
    """

    name: bytes
    beginning: int = 0


class Warm:
    """Which deployments were told which prompts lately; what was used longest ago goes first."""

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[bytes, int], float] = OrderedDict()

    def told(self, name: bytes, deployment_id: int, now: float) -> None:
        place = (name, deployment_id)
        self._until[place] = now + WARM_S
        self._until.move_to_end(place)
        if len(self._until) > MOST_WARM:
            self._until.popitem(last=False)

    def has(self, name: bytes, deployment_id: int, now: float) -> bool:
        return self._until.get((name, deployment_id), now) > now


def drawn_from(name: bytes) -> Draw:
    """Return what is drawn for a kind of thing and its id: 0 to under 1, the same everywhere."""

    def draw(kind: str, number: int) -> float:
        digest = blake2b(b"%s%d" % (kind.encode(), number), key=name[:64], digest_size=8).digest()
        return int.from_bytes(digest) / 2**64

    return draw

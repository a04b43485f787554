"""Open provider keys for the egress client, each for at most a minute."""

from collections.abc import Callable

from llm_gateway import vault
from llm_gateway.providers.auth import Credential
from llm_gateway.snapshot import SnapshotHolder

OPEN_S = 60.0


class Keyring:
    """Decrypted keys of one process by their row's id."""

    def __init__(self, snapshot: SnapshotHolder, clock: Callable[[], float]) -> None:
        self._snapshot, self._clock = snapshot, clock
        self._open: dict[int, tuple[Credential, float]] = {}

    def credential(self, key_id: int) -> Credential:
        """Return a key. Raises SecretError when it does not open, KeyError when it is gone."""
        kept = self._open.get(key_id)
        if kept is not None and kept[1] > self._clock():
            return kept[0]
        sealed = self._snapshot.current.sealed_keys[key_id]
        secret = vault.open_sealed(
            sealed.sealed, tenant_id=sealed.tenant_id, row_id=sealed.row_id, origin=sealed.origin
        )
        credential = Credential(key_id, secret, sealed.origin)
        self._open[key_id] = (credential, self._clock() + OPEN_S)
        return credential

    def forget(self) -> None:
        self._open.clear()

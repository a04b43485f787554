"""Decide who may call what: one table that the code and the tests both read; no row means no.

Keys of the table are (kind, method, route); routes are written as they are routed. Tasks and the
console's own actions have rows too: whatever `spends` has a test that no money is no answer.
"""

from typing import Literal

from msgspec import Struct

from tenants.rights import Role, reaches

KeyScope = Literal["inference", "usage", "manage"]


class Public(Struct, frozen=True):
    """Anybody: no data of a tenant behind it."""


class Key(Struct, frozen=True):
    """An api key with this scope. `spends`: a provider may be asked, and bill it.

    With `role`, somebody of the tenant too who is signed in and has at least that role.
    """

    scope: KeyScope
    spends: bool = False
    role: Role | None = None


class SignedIn(Struct, frozen=True):
    """Anybody who is signed in, about themselves alone."""


class Staff(Struct, frozen=True):
    """A signed-in operator of the whole installation; with `role`, somebody of a tenant too."""

    spends: bool = False
    role: Role | None = None


class Itself(Struct, frozen=True):
    """The installation, by the clock: nobody asks for it."""

    spends: bool = False


Who = Public | Key | SignedIn | Staff | Itself

INFERENCE, LOOKING = Key("inference", spends=True), Key("inference")
USAGE, MANAGE = Key("usage", role="viewer"), Key("manage", role="admin")

# What a tenant manages (`configuration.kinds`).
_MANAGED = ("keys", "projects", "members", "budgets", "limits", "guardrails", "providers")

AUTHZ_MATRIX: dict[tuple[str, str, str], Who] = {
    ("http", "POST", "/v1/chat/completions"): INFERENCE,
    ("http", "POST", "/v1/completions"): INFERENCE,
    ("http", "POST", "/v1/responses"): INFERENCE,
    ("http", "GET", "/v1/responses/{id}"): LOOKING,
    ("http", "DELETE", "/v1/responses/{id}"): LOOKING,
    ("http", "POST", "/v1/responses/{id}/cancel"): LOOKING,
    ("http", "GET", "/v1/responses/{id}/input_items"): LOOKING,
    ("http", "POST", "/v1/conversations"): LOOKING,
    ("http", "GET", "/v1/conversations/{id}"): LOOKING,
    ("http", "POST", "/v1/conversations/{id}"): LOOKING,
    ("http", "DELETE", "/v1/conversations/{id}"): LOOKING,
    ("http", "GET", "/v1/conversations/{id}/items"): LOOKING,
    ("http", "POST", "/v1/conversations/{id}/items"): LOOKING,
    ("http", "GET", "/v1/conversations/{id}/items/{item}"): LOOKING,
    ("http", "DELETE", "/v1/conversations/{id}/items/{item}"): LOOKING,
    ("http", "POST", "/v1/files"): LOOKING,
    ("http", "GET", "/v1/files"): LOOKING,
    ("http", "GET", "/v1/files/{id}"): LOOKING,
    ("http", "DELETE", "/v1/files/{id}"): LOOKING,
    ("http", "GET", "/v1/files/{id}/content"): LOOKING,
    ("http", "POST", "/v1/batches"): INFERENCE,
    ("http", "GET", "/v1/batches"): LOOKING,
    ("http", "GET", "/v1/batches/{id}"): LOOKING,
    ("http", "POST", "/v1/batches/{id}/cancel"): LOOKING,
    ("http", "POST", "/v1/embeddings"): INFERENCE,
    ("http", "POST", "/v1/moderations"): INFERENCE,
    ("http", "POST", "/v1/rerank"): INFERENCE,
    ("http", "POST", "/v1/messages"): INFERENCE,
    ("http", "POST", "/v1/messages/count_tokens"): LOOKING,
    ("http", "POST", "/v1/messages/batches"): INFERENCE,
    ("http", "GET", "/v1/messages/batches/{id}"): LOOKING,
    ("http", "DELETE", "/v1/messages/batches/{id}"): LOOKING,
    ("http", "POST", "/v1/messages/batches/{id}/cancel"): LOOKING,
    ("http", "GET", "/v1/messages/batches/{id}/results"): LOOKING,
    ("http", "GET", "/v1/models"): LOOKING,
    ("http", "GET", "/v1/models/{id}"): LOOKING,
    ("http", "POST", "/v1/models/{model}:generateContent"): INFERENCE,
    ("http", "POST", "/v1/models/{model}:streamGenerateContent"): INFERENCE,
    ("http", "POST", "/v1/models/{model}:countTokens"): LOOKING,
    ("http", "POST", "/v1/models/{model}:embedContent"): INFERENCE,
    ("http", "POST", "/v1/models/{model}:batchEmbedContents"): INFERENCE,
    ("http", "GET", "/v1beta/models"): LOOKING,
    ("http", "GET", "/v1beta/models/{id}"): LOOKING,
    ("http", "POST", "/v1beta/models/{model}:generateContent"): INFERENCE,
    ("http", "POST", "/v1beta/models/{model}:streamGenerateContent"): INFERENCE,
    ("http", "POST", "/v1beta/models/{model}:countTokens"): LOOKING,
    ("http", "POST", "/v1beta/models/{model}:embedContent"): INFERENCE,
    ("http", "POST", "/v1beta/models/{model}:batchEmbedContents"): INFERENCE,
    ("ws", "-", "/ws/v1/llm"): Key("inference", spends=True, role="member"),
    ("http", "POST", "/api/v1/llm/complete"): INFERENCE,
    ("http", "POST", "/api/v1/llm/stream"): INFERENCE,
    ("http", "POST", "/api/v1/llm/race"): INFERENCE,
    ("http", "POST", "/api/v1/llm/parallel"): INFERENCE,
    ("http", "POST", "/api/v1/llm/embed"): INFERENCE,
    ("http", "POST", "/api/v1/llm/count_tokens"): LOOKING,
    ("http", "POST", "/api/v1/llm/optimize_prompt"): LOOKING,
    ("http", "POST", "/api/v1/llm/explain"): LOOKING,
    ("http", "GET", "/api/v1/llm/models"): LOOKING,
    ("http", "GET", "/api/v1/llm/metrics"): USAGE,
    ("http", "GET", "/api/v1/cache"): USAGE,
    ("http", "DELETE", "/api/v1/cache"): MANAGE,
    ("http", "GET", "/api/v1/inflight"): MANAGE,
    ("http", "DELETE", "/api/v1/inflight/{id}"): MANAGE,
    ("http", "GET", "/api/v1/prompts"): MANAGE,
    ("http", "POST", "/api/v1/prompts"): MANAGE,
    ("http", "GET", "/api/v1/prompts/{name}"): MANAGE,
    ("http", "PUT", "/api/v1/prompts/{name}"): MANAGE,
    ("http", "DELETE", "/api/v1/prompts/{name}"): MANAGE,
    ("http", "GET", "/api/v1/conversations"): MANAGE,
    ("http", "POST", "/api/v1/conversations"): MANAGE,
    ("http", "GET", "/api/v1/conversations/{id}"): MANAGE,
    ("http", "PATCH", "/api/v1/conversations/{id}"): MANAGE,
    ("http", "DELETE", "/api/v1/conversations/{id}"): MANAGE,
    **{
        ("http", method, f"/api/v1/{name}"): MANAGE
        for name in _MANAGED
        for method in ("GET", "POST")
    },
    **{
        ("http", method, f"/api/v1/{name}/{{name}}"): MANAGE
        for name in _MANAGED
        for method in ("GET", "PATCH", "DELETE")
    },
    ("http", "POST", "/api/v1/keys/{name}/rotate"): MANAGE,
    ("http", "GET", "/api/v1/audit"): MANAGE,
    ("http", "GET", "/api/v1/me"): USAGE,
    ("http", "GET", "/api/v1/usage"): USAGE,
    ("http", "GET", "/api/v1/usage.csv"): USAGE,
    ("http", "GET", "/api/v1/usage.focus.csv"): USAGE,
    ("http", "GET", "/api/v1/forecast"): USAGE,
    ("http", "GET", "/api/v1/recommendations"): USAGE,
    ("http", "GET", "/api/v1/requests"): USAGE,
    ("http", "GET", "/api/v1/requests/{id}"): USAGE,
    ("http", "GET", "/api/v1/circuits"): Staff(),
    ("http", "POST", "/api/v1/circuits/{deployment}"): Staff(),
    ("http", "GET", "/api/v1/schema"): Public(),
    ("http", "GET", "/api/v1/docs"): Public(),
    ("http", "POST", "/mcp"): INFERENCE,
    ("http", "GET", "/healthz"): Public(),
    ("http", "GET", "/readyz"): Public(),
    ("http", "GET", "/metrics"): Public(),
    ("http", "GET", "/"): Public(),
    ("http", "*", "/admin/"): Staff(role="viewer"),
    ("http", "POST", "/portal/tenant/"): Staff(role="viewer"),
    ("http", "GET", "/portal/advice/"): Staff(role="viewer"),
    ("http", "POST", "/portal/advice/follow/"): Staff(role="admin"),
    ("http", "POST", "/portal/raises/"): Staff(role="member"),
    ("http", "POST", "/portal/keys/{name}/renew/"): Staff(role="member"),
    ("http", "GET", "/sign-in/"): Public(),
    ("http", "POST", "/sign-in/"): Public(),
    ("http", "GET", "/sign-in/code/"): Public(),
    ("http", "POST", "/sign-in/code/"): Public(),
    ("http", "GET", "/sign-in/sso/"): Public(),
    ("http", "GET", "/sign-in/sso/callback/"): Public(),
    ("http", "GET", "/sign-in/invitation/{uidb64}/{token}/"): Public(),
    ("http", "POST", "/sign-in/invitation/{uidb64}/{token}/"): Public(),
    ("http", "GET", "/sign-in/forgotten/"): Public(),
    ("http", "POST", "/sign-in/forgotten/"): Public(),
    ("http", "GET", "/sign-in/reset/{uidb64}/{token}/"): Public(),
    ("http", "POST", "/sign-in/reset/{uidb64}/{token}/"): Public(),
    ("http", "POST", "/sign-in/out/"): Public(),
    ("http", "GET", "/sign-in/mine/"): SignedIn(),
    ("http", "GET", "/sign-in/mine/password/"): SignedIn(),
    ("http", "POST", "/sign-in/mine/password/"): SignedIn(),
    ("http", "GET", "/sign-in/mine/second-factor/"): SignedIn(),
    ("http", "POST", "/sign-in/mine/second-factor/"): SignedIn(),
    ("http", "GET", "/sign-in/mine/second-factor/remove/"): SignedIn(),
    ("http", "POST", "/sign-in/mine/second-factor/remove/"): SignedIn(),
    ("http", "GET", "/sign-in/mine/recovery-codes/"): SignedIn(),
    ("http", "POST", "/sign-in/mine/recovery-codes/"): SignedIn(),
    ("http", "POST", "/sign-in/mine/elsewhere/"): SignedIn(),
    ("http", "GET", "/static/"): Public(),
    ("task", "-", "tenants.deliver_alerts"): Itself(),
    ("task", "-", "tenants.verify_ledger"): Itself(),
    ("task", "-", "llm_gateway.forget_kept_objects"): Itself(),
    ("task", "-", "llm_gateway.keep_configuration"): Itself(),
    ("task", "-", "llm_gateway.retain_requests"): Itself(),
    ("action", "POST", "auth_user_forget_sign_in"): Staff(),
    ("action", "POST", "auth_user_password_change"): Staff(),
    ("action", "POST", "llm_gateway_circuitchange_decide"): Staff(),
    ("action", "POST", "llm_gateway_configurationstate_roll_back"): Staff(),
    ("action", "POST", "llm_gateway_model_switch_off"): Staff(),
    ("action", "POST", "llm_gateway_model_switch_on"): Staff(),
    ("action", "POST", "llm_gateway_price_feed_page"): Staff(),
    ("action", "POST", "llm_gateway_price_unpriced_page"): Staff(),
    ("action", "POST", "llm_gateway_provider_discover_models"): Staff(),
    ("action", "POST", "llm_gateway_provider_switch_off"): Staff(),
    ("action", "POST", "llm_gateway_provider_switch_on"): Staff(),
    ("action", "POST", "llm_gateway_provider_test_provider"): Staff(),
    ("action", "POST", "llm_gateway_provider_test_typed"): Staff(),
    ("action", "POST", "llm_gateway_providerkey_switch_off"): Staff(),
    ("action", "POST", "llm_gateway_providerkey_switch_on"): Staff(),
    ("action", "POST", "llm_gateway_providerkey_test_key"): Staff(),
    ("action", "POST", "llm_gateway_providerkey_test_keys"): Staff(),
    ("action", "POST", "llm_gateway_route_switch_off"): Staff(),
    ("action", "POST", "llm_gateway_route_switch_on"): Staff(),
    ("action", "POST", "llm_gateway_runningnow_stop"): Staff(role="admin"),
    ("action", "POST", "money-advice-follow"): Staff(role="admin"),
    ("action", "POST", "tenants_alertsink_send_test"): Staff(),
    ("action", "POST", "tenants_apikey_revoke"): Staff(role="admin"),
    ("action", "POST", "tenants_apikey_revoke_selected"): Staff(role="admin"),
    ("action", "POST", "tenants_apikey_rotate"): Staff(role="admin"),
    ("action", "POST", "tenants_budget_raise_limit"): Staff(role="admin"),
    ("action", "POST", "tenants_ledgercheck_check"): Staff(),
    ("action", "POST", "tenants_member_invite"): Staff(role="admin"),
    ("action", "POST", "tenants_raiserequest_approve"): Staff(role="admin"),
    ("action", "POST", "tenants_raiserequest_refuse"): Staff(role="admin"),
    ("action", "POST", "tenants_tenant_clear_cache"): Staff(role="owner"),
    ("action", "POST", "tenants_tenant_switch_off"): Staff(),
    ("action", "POST", "tenants_tenant_switch_on"): Staff(),
}


def may(kind: str, method: str, route: str, scopes: frozenset[str]) -> bool:
    """Say whether a key with these scopes may call a route; what is not listed is refused."""
    match AUTHZ_MATRIX.get((kind, method, route)):
        case Public():
            return True
        case Key(scope):
            return scope in scopes
        case _:
            return False


def seated(kind: str, method: str, route: str, role: Role | None, *, operator: bool) -> bool:
    """Say whether somebody who is signed in may call a route: by their role, or as an operator.

    An operator has no tenant of their own: what is a tenant's they reach through the console.
    """
    match AUTHZ_MATRIX.get((kind, method, route)):
        case Public():
            return True
        case Staff(role=least):
            return operator or reaches(role, least)
        case Key(role=least):
            return reaches(role, least)
        case _:
            return False

"""Route the control plane; the data plane is routed before Django (`mobius.asgi`)."""

from django.contrib import admin
from django.urls import include, path

from llm_gateway.landing import advice
from llm_gateway.landing import views as portal

urlpatterns = [
    path("", portal.landing, name="landing"),
    path("portal/advice/", advice.advice, name="portal-advice"),
    path("portal/advice/follow/", advice.follow, name="portal-advice-follow"),
    path("portal/tenant/", portal.choose_tenant, name="portal-tenant"),
    path("portal/raises/", portal.ask_raise, name="portal-raise"),
    path("portal/keys/<str:name>/renew/", portal.renew_key, name="portal-renew"),
    path("admin/", admin.site.urls),
    path("sign-in/", include("tenants.signin.urls")),
    path("api/v1/", include("llm_gateway.api.urls")),
]

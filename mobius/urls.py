"""Route the control plane; the data plane is routed before Django (`mobius.asgi`)."""

from django.contrib import admin
from django.urls import include, path

from llm_gateway.landing import landing

urlpatterns = [
    path("", landing, name="landing"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("llm_gateway.api.urls")),
]

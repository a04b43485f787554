"""Route the control plane; the data plane is routed before Django (`mobius.asgi`)."""

from django.contrib import admin
from django.urls import path

from llm_gateway.landing import landing

urlpatterns = [path("", landing, name="landing"), path("admin/", admin.site.urls)]

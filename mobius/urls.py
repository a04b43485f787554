"""Route the control plane; the data plane is routed before Django (`mobius.asgi`)."""

from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]

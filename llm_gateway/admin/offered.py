"""Offer names to choose from: a tenant's people see what all share and what is their own."""

from typing import Any

from django.db.models import Manager, Q, QuerySet

from llm_gateway.models import Model
from tenants.seats import Seat


def seen_by(seat: Seat, rows: Manager[Any], tenant: str) -> QuerySet[Any]:
    """Return the rows that are nobody's and, of tenants', this person's; `tenant`: a look-up."""
    if seat.operator:
        return rows.all()
    return rows.filter(Q((tenant, None)) | Q((tenant, seat.tenant_id)))


def model_names(seat: Seat) -> QuerySet[Any]:
    """Return the public names of models, each once."""
    found = seen_by(seat, Model.objects, "provider__tenant").order_by("name")
    return found.values_list("name", flat=True).distinct()

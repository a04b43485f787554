"""The Celery application: what runs beside the servers, on Redis or RabbitMQ, and when.

Started by name (`celery -A mobius.celery worker`, `… beat`); no server ever imports it.
"""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mobius.settings")

from celery import Celery
from celery.schedules import crontab

app = Celery("mobius")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.update(
    # Our logs stay ours: its own handlers would pass by the net that masks secrets.
    worker_hijack_root_logger=False,
    beat_schedule={
        "verify the ledger": {"task": "tenants.verify_ledger", "schedule": crontab(minute=17)},
        "let old requests go": {
            "task": "llm_gateway.retention",
            "schedule": crontab(hour=3, minute=41),
        },
    },
)

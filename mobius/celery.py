"""The Celery application: what runs beside the servers, on Redis or RabbitMQ, and when.

Started by name (`celery -A mobius.celery worker`, `… beat`); no server ever imports it.
"""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mobius.settings")

import django
from celery import Celery
from django.apps import apps

if not apps.ready:
    django.setup()

from llm_gateway.service.periodic import PERIODIC

app = Celery("mobius")
app.config_from_object("django.conf:settings", namespace="CELERY")
for job in PERIODIC:
    app.task(name=job.name)(job.run)
app.conf.update(
    # Our logs stay ours: its own handlers would pass by the net that masks secrets.
    worker_hijack_root_logger=False,
    beat_schedule={job.name: {"task": job.name, "schedule": job.every_s} for job in PERIODIC},
)

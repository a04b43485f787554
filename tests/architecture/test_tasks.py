"""What runs every so often is one list: beat and the ticker of a process do the same."""

from celery.schedules import maybe_schedule

from llm_gateway.service.periodic import PERIODIC
from mobius.celery import app


def test_everything_that_is_scheduled_is_a_task_and_the_other_way_round() -> None:
    app.loader.import_default_modules()
    scheduled = {row["task"] for row in app.conf.beat_schedule.values()}
    ours = {name for name in app.tasks if not name.startswith("celery.")}
    assert scheduled == ours == {job.name for job in PERIODIC}


def test_beat_does_it_as_often_as_the_ticker() -> None:
    app.loader.import_default_modules()
    for job in PERIODIC:
        row = app.conf.beat_schedule[job.name]
        assert maybe_schedule(row["schedule"]).run_every.total_seconds() == job.every_s


def test_no_two_jobs_have_one_name() -> None:
    assert len({job.name for job in PERIODIC}) == len(PERIODIC)

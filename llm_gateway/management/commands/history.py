"""`manage.py history`: list what the configuration was, show one state, make it so again."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from typing_extensions import override

from llm_gateway.configuration.document import ConfigurationError
from llm_gateway.configuration.export import export
from llm_gateway.configuration.rollback import StalePlanError, plan_roll_back, roll_back
from llm_gateway.configuration.states import before, difference, keep_state
from llm_gateway.management.reports import DIFFERS, print_report
from llm_gateway.models import ConfigurationState

ACTOR = "history --rollback"


class Command(BaseCommand):
    help = "List what the configuration was, newest first; show a state or roll back to it."
    requires_system_checks = []

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--show", type=int, metavar="N", help="Print what changed with N.")
        which.add_argument("--rollback", type=int, metavar="N", help="Make it what N says.")
        parser.add_argument(
            "--plan",
            action="store_true",
            help="With --rollback: print the differences, change nothing; exit 0 or 2.",
        )

    @override
    def handle(self, *, show: int | None, rollback: int | None, plan: bool, **options: Any) -> None:
        if plan and rollback is None:
            raise CommandError("--plan is of a roll back: say --rollback N, too.")
        try:
            if show is not None:
                self._show(_state(show))
            elif rollback is not None:
                self._roll_back(_state(rollback), plan=plan)
            else:
                self._list()
        except (ConfigurationError, StalePlanError) as error:
            raise CommandError(f"Nothing was changed. {error}") from None

    def _list(self) -> None:
        keep_state()
        for state in ConfigurationState.objects.defer("document"):
            self.stdout.write(f"{state.number:>6}  {state.at:%Y-%m-%d %H:%M:%S}  {state.made_by}")

    def _show(self, state: ConfigurationState) -> None:
        previous = before(state)
        for title, lines in (
            (
                f"What changed with {state.number}, {state.at:%Y-%m-%d %H:%M:%S} UTC:",
                difference(previous.text if previous else "", state.text),
            ),
            (f"From {state.number} to now:", difference(state.text, export())),
        ):
            self.stdout.write(title)
            for line in lines or ["(nothing)"]:
                self.stdout.write(line)

    def _roll_back(self, state: ConfigurationState, *, plan: bool) -> None:
        planned = plan_roll_back(state)
        for note in planned.notes:
            self.stderr.write(f"Note: {note}")
        report = planned.report
        if not plan:
            report = roll_back(state, actor=ACTOR, version=planned.version)
        print_report(self.stdout, report, plan=plan)
        if plan and report.differs:
            sys.exit(DIFFERS)


def _state(number: int) -> ConfigurationState:
    state = ConfigurationState.objects.filter(pk=number).first()
    if state is None:
        raise CommandError(f"There is no state {number}: `manage.py history` lists them.")
    return state

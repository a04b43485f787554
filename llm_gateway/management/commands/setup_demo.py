"""`manage.py setup_demo`: fill an empty installation once, and say how to reach it every time."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from typing_extensions import override

from llm_gateway.configuration.apply import apply
from llm_gateway.configuration.demo import KEY, MOCK_MODEL, TENANT, demo
from llm_gateway.configuration.document import ConfigurationError
from llm_gateway.configuration.schema import File
from tenants.models import Tenant

USER = "admin"


class Command(BaseCommand):
    help = "Load the demo configuration into an empty installation and print how to reach it."
    requires_system_checks = []

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)

    @override
    def handle(self, *, port: int, **options: Any) -> None:
        kept = settings.MOBIUS_HOME / "demo_login"
        try:
            # Read at every start: a value that cannot be understood is said even if unused.
            file = demo(os.environ)
            if not Tenant.objects.exists():
                self._set_up(file, kept)
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
        address = f"http://127.0.0.1:{port}"
        self.stdout.write(f"Console URL {address}/admin/")
        if not kept.exists():
            self.stdout.write(f"This installation has its own tenants: no demo login in {kept}.")
            return
        login = json.loads(kept.read_text())
        body = {"model": MOCK_MODEL, "messages": [{"role": "user", "content": "Hello!"}]}
        self.stdout.write(f"Login {login['user']} / {login['password']}")
        self.stdout.write(f"Key {login['key']}")
        self.stdout.write(
            f"curl {address}/v1/chat/completions -H 'Authorization: Bearer {login['key']}'"
            f" -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
        )

    def _set_up(self, file: File, kept: Path) -> None:
        """Write everything or nothing: the login is on disk before its rows are committed."""
        password = secrets.token_urlsafe(12)
        with transaction.atomic():
            report = apply(file, folder=Path.cwd(), actor="setup_demo")
            self._make_operator(password)
            login = {"user": USER, "password": password, "key": report.keys[f"{TENANT}/{KEY}"]}
            _write_private(kept, json.dumps(login))
        for warning in report.warnings:
            self.stderr.write(f"Warning: {warning}")

    def _make_operator(self, password: str) -> None:
        users = get_user_model()._default_manager  # noqa: SLF001 - Django's public model API
        user, _ = users.get_or_create(username=USER)
        user.is_staff = user.is_superuser = True
        user.set_password(password)
        user.save()


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)

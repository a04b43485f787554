"""The docs say what the code does: whatever can be enumerated is compared with it."""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import msgspec
import pytest

from llm_gateway import errors
from llm_gateway.configuration import schema
from llm_gateway.configuration.load import parse
from llm_gateway.configuration.references import Known, check
from llm_gateway.edge.app import ENDPOINTS
from llm_gateway.types import Quirks
from llm_gateway.version import VERSION
from tests.architecture.tree import PROJECT, contract, parsed, pyproject, sources, text

PAGES = sorted((PROJECT / "docs").rglob("*.md"))
FRONT = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
README_LINES = 150
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_VARIABLE = re.compile(r"env\.(?:text|number|flag|choice|words|url)\(\s*\"([A-Z_]+)\"")

each_page = pytest.mark.parametrize("page", [*FRONT, *PAGES], ids=lambda path: path.name)


def test_the_readme_is_short() -> None:
    assert len(text("README.md").splitlines()) <= README_LINES


def test_the_readme_keeps_a_place_for_the_figures() -> None:
    assert re.search(r"<!-- bench -->\n.+\n<!-- /bench -->", text("README.md"), re.DOTALL)


def test_the_picture_of_layers_equals_the_contract() -> None:
    drawn = text("docs/architecture.md").partition("```text\n")[2].partition("```")[0]
    layers = [re.split(r" {2,}", line)[0] for line in drawn.strip().splitlines()]
    assert layers == contract("Layers of the gateway")["layers"]


def test_the_path_of_a_request_names_what_is_there() -> None:
    page = text("docs/architecture.md")
    members = dict(classes())
    named = re.findall(r"`(?:[\w/.]+: )?([A-Z]\w+)\.(\w+)", page)
    assert len(named) > 10
    assert [one for one in named if one[1] not in members.get(one[0], ())] == []
    row = next(line for line in page.splitlines() if line.startswith("| `llm_gateway/service/`"))
    for module in re.findall(r"`(\w+)`", row):
        assert (PROJECT / "llm_gateway" / "service" / f"{module}.py").exists(), module


def classes() -> Iterator[tuple[str, set[str]]]:
    for path in sources():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                yield node.name, {one.name for one in ast.walk(node) if hasattr(one, "name")}


@each_page
def test_every_link_leads_somewhere(page: Any) -> None:
    for target, anchor in _LINK.findall(page.read_text("utf-8")):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text("utf-8")), anchor


def anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_a_page_names_only_files_that_exist(page: Any) -> None:
    for name in re.findall(r"`((?:tests|docs|docker|requirements)/[\w/.-]+)`", page.read_text()):
        assert (PROJECT / name).exists(), name


def fields(shape: Any) -> Iterator[str]:
    """Yield every field name of a shape and of the shapes in it."""
    for field in msgspec.structs.fields(shape):
        yield field.encode_name
        for inner in shapes_in(field.type):
            yield from fields(inner)


def shapes_in(kind: Any) -> Iterator[Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    elif get_origin(kind) is not None:
        for argument in get_args(kind):
            yield from shapes_in(argument)


def test_every_field_of_the_configuration_is_described() -> None:
    page = text("docs/configuration.md")
    missing = {name for name in fields(schema.File) if f"`{name}`" not in page}
    assert missing == set()


def test_every_error_has_its_line() -> None:
    page = text("docs/http-api.md")
    for error in every_class(errors.GatewayError):
        # A refusal without a code of its own, or one whose status is what the provider said.
        if "code" in vars(error) or "status" in vars(error):
            assert re.search(rf"^\| {error.status} \| `{error.code}` \|", page, re.MULTILINE), error


def every_class(base: type[errors.GatewayError]) -> Iterator[type[errors.GatewayError]]:
    yield base
    for below in base.__subclasses__():
        yield from every_class(below)


def test_every_endpoint_of_the_data_plane_is_described() -> None:
    page = text("docs/http-api.md")
    for endpoint in ENDPOINTS.values():
        assert f"`{endpoint.method} {endpoint.route}`" in page


def test_every_header_that_steers_the_gateway_is_described() -> None:
    read = set(re.findall(r'"(x-mobius-[a-z]+)"', text("llm_gateway/service/controls.py")))
    page = text("docs/http-api.md")
    # The hop count is between gateways, for `gateway_loop`.
    assert {name for name in read if f"`{name}: " not in page} == {"x-mobius-hop"}


def test_every_variable_of_the_environment_is_described() -> None:
    page = text("docs/operations.md")
    read = {name for path in sources("mobius") for name in _VARIABLE.findall(path.read_text())}
    assert len(read) > 10
    for name in {*read, "MOBIUS_MASTER_KEY", "DJANGO_SECRET_KEY"}:
        assert f"| `{name}` |" in page, name


def test_every_quirk_is_described() -> None:
    page = text("docs/adding-a-provider.md")
    for field in msgspec.structs.fields(Quirks):
        assert f"| `{field.name}` |" in page


def test_decisions_are_numbered_without_gaps_and_say_what_they_cost() -> None:
    decisions = sorted((PROJECT / "docs" / "adr").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [
        f"{number:04}" for number in range(1, len(decisions) + 1)
    ]
    for path in decisions:
        headings = re.findall(r"^## (.+)$", path.read_text("utf-8"), re.MULTILINE)
        assert headings == ["Situation", "Decision", "Rejected", "What it costs"]


def test_there_is_one_version() -> None:
    assert pyproject()["project"]["version"] == VERSION
    assert f"## {VERSION}" in text("CHANGELOG.md")


def yaml_examples() -> list[Any]:
    return [
        pytest.param(block, id=f"{page.name} {number}")
        for page in [*FRONT, *PAGES]
        for number, block in enumerate(
            re.findall(r"```yaml\n(.+?)```", page.read_text(), re.DOTALL)
        )
    ]


@pytest.mark.parametrize("example", yaml_examples())
def test_every_example_of_a_configuration_can_be_applied(example: str) -> None:
    assert check(parse(example), Known()) == []


def test_the_clients_that_are_tested_are_told_with_their_versions() -> None:
    told = dict(re.findall(r"^\| `([^`]+)` \| ([\d.]+) \|$", text("docs/clients.md"), re.MULTILINE))
    locks = "".join(text(f"requirements/{name}.txt") for name in ("clients", "clients-older"))
    installed = dict(re.findall(r"^([\w.-]+)==(\S+)", locks, re.MULTILINE))
    packages = json.loads(text("tests/clients/vercel/package-lock.json"))["packages"]
    installed |= {
        name.removeprefix("node_modules/"): one.get("version") for name, one in packages.items()
    }
    groups = pyproject()["dependency-groups"]
    asked = [one for name in ("clients", "clients-older") for one in groups[name]]
    wanted = {re.split(r"[\[<>=]", one)[0] for one in asked if ">=" in one}
    assert wanted - {"jsonref"} <= told.keys()
    assert told == {name: installed[name] for name in told}

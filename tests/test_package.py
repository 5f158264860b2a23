"""The package as a whole: imports flow one way, everything public is described, versions and texts agree."""

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import roadseg
from roadseg import checks

PROJECT = Path(__file__).parent.parent
PACKAGE = PROJECT / "roadseg"
FOLDERS = (".ci", ".github", "notebooks", "roadseg", "tests")
TEXTS = (".cfg", ".csv", ".ipynb", ".json", ".md", ".py", ".sha256", ".toml", ".txt", ".yml", "")
MACHINE_PATH = re.compile(r"(?<![\w.])(?:/(?:work|home|root|Users)/\w|[A-Z]:\\+Users)")


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """All modules, parsed."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE).with_suffix("").as_posix(): ast.parse(path.read_text("utf-8")) for path in paths}


def public(tree: ast.Module | ast.ClassDef, place: str) -> Iterator[tuple[str, ast.AST]]:
    """Public functions, classes and their public methods, each with its place such as "runs.Run.model".

    Rooms' classes say what all their methods do."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"{place}.{node.name}", node
            if isinstance(node, ast.ClassDef) and "/" not in place:
                yield from public(node, f"{place}.{node.name}")


def texts() -> Iterator[Path]:
    """The repository's own text files."""
    yield PROJECT / "data" / "README.md"
    yield from (path for path in PROJECT.iterdir() if path.is_file() and path.name != ".git")  # a file in a worktree
    for folder in FOLDERS:
        inside = (path.relative_to(PROJECT / folder) for path in (PROJECT / folder).rglob("*") if path.suffix in TEXTS)
        shown = (path for path in inside if not any(part.startswith(".") for part in path.parts))
        yield from (path for part in shown if (path := PROJECT / folder / part).is_file())


def test_everything_public_is_described(trees):
    members = {place: node for module, tree in trees.items() for place, node in public(tree, module)}
    assert {"data.load", "runs.Run", "runs.Run.model"} <= members.keys()
    assert not [place for place, node in (members | trees).items() if not ast.get_docstring(node)]


def test_every_pin_lies_in_its_range():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    ranges = [Requirement(text) for text in (*project["dependencies"], *extras["lab"], *extras["dev"])]
    lines = (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    *pins, package = [text for line in lines if (text := line.split("#")[0].strip())]
    assert package == "-e ."  # last: everything it needs is there by then
    pinned = dict(pin.split("==") for pin in pins)
    assert pinned.keys() == {requirement.name for requirement in ranges}
    assert not [str(wanted) for wanted in ranges if pinned[wanted.name] not in wanted.specifier]


def test_no_text_names_a_place_on_somebodys_machine():
    found = {str(path.relative_to(PROJECT)): MACHINE_PATH.findall(path.read_text(encoding="utf-8")) for path in texts()}
    assert {"README.md", "Makefile", ".ci/run", "roadseg/kitti.py"} <= found.keys()
    assert not {name: places for name, places in found.items() if places}


def test_the_change_log_knows_this_version():
    assert f"## {roadseg.__version__}" in (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_a_public_name_stands_for_one_thing(trees):
    """But for commands, which all are run alike, and for checks, which are called as what they check."""
    places = defaultdict(list)
    for module, tree in trees.items():
        for node in () if module.startswith("cli/") else tree.body:
            is_public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if is_public and node.name not in checks.__all__:
                places[node.name].append(module)
    assert places["read_workbook"] and not {name: found for name, found in places.items() if len(found) > 1}

"""The package as a whole: imports flow one way, everything public is described, versions and texts agree."""

import ast
import re
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import roadseg

PROJECT = Path(__file__).parent.parent
PACKAGE = PROJECT / "roadseg"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")

# The table of contents is the package's docstring. Not in it: the wrapper of TensorFlow, which needs nothing of the
# package, and the commands, which nothing of the package needs. A module such as scenes_paint is a part of scenes.
CONTENTS = re.findall(r"^(\w+)  +\w", roadseg.__doc__, re.MULTILINE)
ORDER = [
    *(name for name in ("backend",) if name not in CONTENTS),
    *CONTENTS,
    *(name for name in ("doctor", "__main__") if name not in CONTENTS),
]
WITHOUT_TENSORFLOW = ("errors", "files", "kitti", "scenes", "metrics", "baselines", "provenance", "recipes")
INSIDE_CHECKS = ("graph", "wiring", "check_unet", "trials", "mistakes", "check_steps", "check_answers")
FOLDERS = (".ci", ".github", "notebooks", "roadseg", "tests")
TEXTS = (".cfg", ".csv", ".ipynb", ".json", ".md", ".py", ".sha256", ".toml", ".txt", ".yml", "")
MACHINE_PATH = re.compile(r"(?<![\w.])(?:/(?:work|home|root|Users)/\w|[A-Z]:\\+Users)")


def rank(module: str) -> int:
    """Place of a module in the order; its parts have the same."""
    return ORDER.index(module if module in ORDER else module.split("_")[0])


def imported(module: str) -> set[str]:
    """The package's modules that a module imports, at its top or in a function."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("roadseg.") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.level or node.module.split(".")[0] == "roadseg"):
            base = (node.module or "").removeprefix("roadseg").removeprefix(".")
            names |= {base} if base else {alias.name for alias in node.names}
    return names & set(MODULES)


def public(tree: ast.Module | ast.ClassDef, place: str) -> Iterator[tuple[str, ast.AST]]:
    """Public functions, classes and their public methods, each with its place such as "runs.Run.model".

    Parts such as scenes_things, and what the checks are made of, are no interface: their classes say what all their
    methods do.
    """
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"{place}.{node.name}", node
            if isinstance(node, ast.ClassDef) and place in ORDER and place not in INSIDE_CHECKS:
                yield from public(node, f"{place}.{node.name}")


def texts() -> Iterator[Path]:
    """The repository's own text files."""
    yield PROJECT / "data" / "README.md"
    yield from (path for path in PROJECT.iterdir() if path.is_file())
    for folder in FOLDERS:
        inside = (path.relative_to(PROJECT / folder) for path in (PROJECT / folder).rglob("*") if path.suffix in TEXTS)
        shown = (path for path in inside if not any(part.startswith(".") for part in path.parts))
        yield from (path for part in shown if (path := PROJECT / folder / part).is_file())


@pytest.mark.parametrize("module", MODULES)
def test_imports_flow_one_way(module):
    later = {name for name in imported(module) if rank(name) > rank(module)}
    assert not later, f"{module} comes before {later} in the table of contents, so it may not import from there"


def test_no_module_imports_itself_on_a_detour():
    graph = {module: imported(module) for module in MODULES}
    assert graph["data"] >= {"kitti", "scenes"}  # imports in functions count, so the graph is not empty
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_the_contents_list_every_module():
    assert {rank(module) for module in MODULES} == set(range(len(ORDER)))
    assert set(CONTENTS) <= set(dir(roadseg))


@pytest.mark.parametrize("module", WITHOUT_TENSORFLOW)
def test_modules_for_numbers_do_without_tensorflow(module):
    seen, waiting = set(), {module}
    while waiting:
        seen |= waiting
        waiting = set().union(*map(imported, waiting)) - seen
    assert "backend" not in seen
    for name in seen:
        assert not re.search(r"^\s*(import|from) (tensorflow|keras)", (PACKAGE / f"{name}.py").read_text(), re.M)


def test_everything_public_is_described():
    trees = {module: ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8")) for module in MODULES}
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


@pytest.mark.parametrize(
    "place", ["/" + "home/somebody", "in /" + "work/main.", '"/' + 'Users/me"', "C:\\" + "Users\\me"]
)
def test_such_places_are_recognised(place):
    assert MACHINE_PATH.search(place)


def test_the_change_log_knows_this_version():
    assert f"## {roadseg.__version__}" in (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")

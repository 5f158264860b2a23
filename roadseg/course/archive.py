"""The archive that a class gets: the package and blank notebooks, and nothing that gives an answer away.

What stays behind: worked notebooks, with their answers, solutions and hidden tests; the rubric; the teacher's side;
the tests, which know right and wrong solutions. The package's own steps and models are reference code and stay
readable.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from roadseg.files import written_whole
from roadseg.workbook import notebooks as workbook

TOP = "road_segmentation"  # the one folder in the archive
FILES = ("LICENSE", "Makefile", "README.md", "data/README.md", "pyproject.toml", "requirements.txt")
STAYS_BEHIND = ("rubric.toml", "course/*")  # of the package
WHOLE_PROJECT_ONLY = {  # what speaks of the parts that stay behind
    "README.md": (
        r"^## For (?:teachers|maintainers)\n(?:(?!## ).*\n)*",
        r"^The notebooks with all solutions(?:.+\n)+\n",
        r"^.*(?:pytest|make test|build[/\\]test|nbval|ROADSEG_KITTI).*\n",
    ),
    "Makefile": (r"^(?:check|test|long|e2e|bench|teach):.*\n(?:\t.*\n)*\n?",),
}
DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever it is made


def write(path: Path, project: Path) -> int:
    """Write the archive of a whole project, and return how many files are in it."""
    content = contents(project)
    with written_whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(content):
            member = zipfile.ZipInfo(f"{TOP}/{name}", DATE)
            member.external_attr = 0o644 << 16
            archive.writestr(member, content[name], zipfile.ZIP_DEFLATED)
    return len(content)


def contents(project: Path) -> dict[str, bytes]:
    """What the archive holds: bytes by path."""
    found = {name: _for_students(project, name) for name in FILES}
    found |= {name: (project / name).read_bytes() for name in _shown_in_readme(project)}
    for path in sorted((project / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        blank = workbook.blank(workbook.read_notebook(path))
        found[f"notebooks/{path.name}"] = (json.dumps(blank, indent=1, ensure_ascii=False) + "\n").encode()
    for path in (project / "roadseg").rglob("*"):
        name = path.relative_to(project).as_posix()
        if path.is_file() and not any(path.match(pattern) for pattern in STAYS_BEHIND) and _is_source(name):
            found[name] = path.read_bytes()
    return found


def _for_students(project: Path, name: str) -> bytes:
    """A file, without what only makes sense in the whole project."""
    text = (project / name).read_text("utf-8")
    for pattern in WHOLE_PROJECT_ONLY.get(name, ()):
        text = re.sub(pattern, "", text, flags=re.MULTILINE)
    return text.encode()


def _shown_in_readme(project: Path) -> list[str]:
    """The pictures in the README."""
    return re.findall(r"!\[[^\]]*\]\((\.github/[^)]+)\)", (project / "README.md").read_text("utf-8"))


def _is_source(name: str) -> bool:
    """Neither hidden nor compiled."""
    return not any(part.startswith((".", "__pycache__")) for part in name.split("/"))

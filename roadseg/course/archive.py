"""The archive that a class gets: the package and blank notebooks, and nothing that gives an answer away.

Left out are the worked notebooks, with their answers, solutions and hidden tests; the rubric; the teacher's side; the
tests, which know right and wrong solutions. The package's own steps and models are reference code and stay readable.
"""

import json
import re
import zipfile
from pathlib import Path

from roadseg import workbook
from roadseg.storage import atomic_write

TOP = "road_segmentation"  # the one folder in the archive
FILES = ("LICENSE", "Makefile", "README.md", "data/README.md", "pyproject.toml", "requirements.txt")
LEFT_OUT = re.compile(r"roadseg/(course/.*|cli/course\.py|workbook/rubric\.toml)|(.*/)?(\.|__pycache__).*")
LEFT_OUT_LINES = {  # what only makes sense in the whole project
    "README.md": (
        r"^## For (?:teachers|maintainers)\n(?:(?!## ).*\n)*",
        r"^The notebooks with all solutions(?:.+\n)+\n",
        r"^.*(?:pytest|make test|build[/\\]test|nbval|ROADSEG_KITTI).*\n",
    ),
    "Makefile": (r"^(?!(?:help|lab|report|clean):)[a-z0-9]+:.*\n(?:\t.*\n)*\n?",),
}


def write_archive(path: Path, project: Path) -> None:
    """Write the archive of a whole project."""
    files = {}  # bytes by path
    for name in FILES:
        text = (project / name).read_text("utf-8")
        if name == "README.md":
            images = re.findall(r"!\[[^\]]*\]\((\.github/[^)]+)\)", text)
            files |= {image: (project / image).read_bytes() for image in images}
        for pattern in LEFT_OUT_LINES.get(name, ()):
            text = re.sub(pattern, "", text, flags=re.MULTILINE)
        files[name] = text.encode()
    for own in (project / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        blank = workbook.blank(workbook.read_notebook(own))
        files[f"notebooks/{own.name}"] = (json.dumps(blank, indent=1, ensure_ascii=False) + "\n").encode()
    for own in (project / "roadseg").rglob("*"):
        name = own.relative_to(project).as_posix()
        if own.is_file() and not LEFT_OUT.fullmatch(name):
            files[name] = own.read_bytes()
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(f"{TOP}/{name}")  # of 1980: the same bytes whenever it is made
            member.external_attr = 0o644 << 16
            archive.writestr(member, files[name], zipfile.ZIP_DEFLATED)

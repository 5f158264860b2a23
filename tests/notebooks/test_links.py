"""Links, headings that they lead to, and the glossary, in the worked notebooks and the README."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest

PROJECT = Path(__file__).parents[2]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("0*.ipynb"))
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
SOURCES = 15


def prose(path: Path) -> str:
    """All text of a notebook, without formulas."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.sub(r"\$\$.*?\$\$", "", text, flags=re.S)


def links(path: Path) -> list[tuple[str, str]]:
    """(words, target) of all links of a notebook."""
    return LINK.findall(prose(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_link_is_well_formed_and_each_local_one_leads_somewhere(path):
    text = prose(path)
    assert text.count("](") == len(LINK.findall(text)) + len(re.findall(r"!\[[^\]]*\]\(", text)), "a broken link"
    for words, target in links(path):
        parts = urlsplit(target)
        assert words.strip()
        if parts.scheme or parts.netloc:
            assert parts.scheme == "https" and re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), target
            assert not target.endswith((".", ",", ";", ":")), target
        else:
            other = path.parent / parts.path if parts.path else path
            assert other.is_file(), target
            headings = re.findall(r"^#+ (.+)$", prose(other), flags=re.M) if parts.fragment else [""]
            assert parts.fragment in [heading.replace(" ", "-") for heading in headings], target


def test_the_sources_of_what_is_taught_are_linked_with_what_to_read_there():
    table = prose(PROJECT / "notebooks" / "04_going_further.ipynb").split("## Further reading")[1].split("\n## ")[0]
    rows = [row.split("|")[1:3] for row in table.splitlines() if row.startswith("| [")]
    targets = {LINK.search(source)[2] for source, _ in rows}
    assert len(targets) == len(rows) >= SOURCES and all(len(why.split()) >= 5 for _, why in rows)


def test_the_glossary_has_each_term_once_in_order_and_names_a_notebook():
    text = prose(PROJECT / "notebooks" / "04_going_further.ipynb").split("## Glossary")[1].split("\n## ")[0]
    terms = re.findall(r"^- \*\*(.+?)\*\* \(0[0-4](?:, 0[0-4])*\): ", text, flags=re.M)
    assert len(terms) == len(set(terms)) == text.count("\n- ") >= 40
    assert [term.lower() for term in terms] == sorted(term.lower() for term in terms)

"""README and pages: what they point at exists, and what they say of the commands is true."""

import re
from pathlib import Path

import pytest
from DeepReg2D3DLib import cli
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.engine.methods import METHOD_NAMES

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "DeepReg2D3D/DeepReg2D3DLib"
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "Resources/Docs").glob("*.md")), *sorted((ROOT / "Resources/Models").glob("*.md"))]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(place), f"{page.name}: {target}"


def test_method_page_names_files_that_exist():
    page = text_of(ROOT / "Resources/Docs/method.md")
    named = set(re.findall(r"`((?:engine|training|evaluation)/[\w/]*(?:\.py)?)`", page))
    assert len(named) > 30
    assert {path for path in named if not (LIBRARY / path).exists()} == set()


def rows_of(heading: str) -> set[str]:
    """First cells, where they are code, of the README's table under such a heading."""
    [table] = re.findall(rf"^\| {re.escape(heading)} \|.*\n((?:\|.*\n)+)", text_of(README), re.MULTILINE)
    return set(re.findall(r"^\| `([a-z-]+)`", table, re.MULTILINE))


def test_readme_lists_every_method():
    assert rows_of("`--method`") == set(METHOD_NAMES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_blocks_are_accepted(page):
    """The program's parser takes every command line of a page; the files need not exist."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text_of(page), re.DOTALL)).replace("\\\n", " ")
    for line in re.findall(r"^deepreg2d3d (.+)$", blocks, re.MULTILINE):
        try:
            cli.build_parser().parse_args(line.split())
        except SystemExit:
            pytest.fail(f"{page.name}: deepreg2d3d {line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_sentences_exist(page):
    [commands] = [action for action in cli.build_parser()._actions if hasattr(action, "choices") and action.choices]
    known = {name: {o for a in parser._actions for o in a.option_strings} for name, parser in commands.choices.items()}
    every = set().union(*known.values())
    plain = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    for code in re.findall(r"`([^`]+)`", plain):
        words = code.removeprefix("deepreg2d3d ").split()
        foreign = words[:1] in (["pip"], ["python"], ["ruff"])
        options = {word for word in words if re.fullmatch(r"--[a-z-]+", word)}
        assert foreign or options <= known.get(words[0], every), f"{page.name}: {code}"


def test_the_geometry_of_the_page_is_read(tmp_path):
    [example] = re.findall(r"```json\n(.*?)```", text_of(ROOT / "Resources/Docs/geometry.md"), re.DOTALL)
    (tmp_path / "geometry.json").write_text(example)
    [view] = load_geometry(tmp_path / "geometry.json")
    assert view.camera.name == "AP" and view.camera.columns == 512

"""CONTRIBUTING.md and the pages of docs/ name files that exist, and names in them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
FROM = (ROOT, ROOT / "service/pilotlight")
PAGES = sorted((ROOT / "docs").rglob("*.md"))
BACKENDS = tuple(ROOT.glob("backends/*/pilotlight_*"))
FILE = re.compile(r"`([\w./-]+(?:\.py|/))`")
RECIPES = {
    "An endpoint",
    "A request field",
    "A sampling parameter",
    "A model option",
    "A backend",
    "A tool-call format",
    "A setting",
    "An error",
}
NAMES = {
    "schema/base.py": ["class Request"],
    "server/app.py": ["def create_app_of"],
    "api/serving.py": ["class GenerationPlan"],
    "generation/params.py": ["class GenerationParams"],
    "backends/contract/pilotlight_backend/types/requests.py": ["class SamplingParams"],
    "backends/contract/pilotlight_backend/types/loading.py": ["class LoadOptions"],
    "backends/contract/pilotlight_backend/validation.py": ["_STAGE ="],
    "backends/contract/pilotlight_backend/testing/conformance/generating.py": ["OUT_OF_NEUTRAL:"],
    "models/catalog.py": ["class ModelOptions"],
    "model_options.py": ["def load_options", "def step_timeout"],
    "config/settings.py": ["class Settings"],
    "config/model_settings.py": ["class ModelSettings"],
    "config/request_settings.py": ["class RequestSettings"],
    "output/tool_calls/formats/format.py": ["signs:", "lacks:", "reader:", "grammar:", "triggers:"],
}


def located(name, folders=FROM):
    """Return where *name* is, below the repository or the service."""
    return [folder / name for folder in folders if (folder / name).exists()]


def test_each_recipe_is_there():
    assert set(re.findall(r"^### (.+)$", PAGE, re.MULTILINE)) >= RECIPES


@pytest.mark.parametrize("name", sorted(set(FILE.findall(PAGE))))
def test_a_named_file_is_there(name):
    """`NAME` stands for the endpoint's own."""
    assert located(name.replace("/NAME/", "/tokens/")), name


@pytest.mark.parametrize("name", NAMES)
def test_a_named_file_has_what_the_recipe_says(name):
    assert f"`{name}`" in PAGE
    (path,) = located(name)
    text = path.read_text("utf-8")
    for word in NAMES[name]:
        assert word in text


def test_the_readme_lists_every_page():
    """Those of the design are listed in docs/design.md."""
    for index, folder in ((ROOT / "README.md", "docs"), (ROOT / "docs/design.md", "docs/design")):
        text = index.read_text("utf-8")
        pages = (page.relative_to(index.parent) for page in (ROOT / folder).glob("*.md"))
        assert [str(page) for page in pages if f"({page})" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_of_the_documentation_names_files_that_exist(page):
    """A file of a backend is named without its folder where the text is about that backend."""
    names = set(FILE.findall(page.read_text("utf-8")))
    assert [name for name in sorted(names) if not located(name, (*FROM, *BACKENDS))] == []

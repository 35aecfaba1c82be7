"""Directions of the rooms, limits of length, nothing at import: enforced on the source, and shown to bite."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("steering", "models", "storage", "ui", "benchmarks")
OUR_ROOTS = {*ROOMS, "app", "tests"}

# What of our own code each room may import; "x" allows x and everything in it.
MAY_IMPORT = {
    "steering": {"steering"},
    "models": {"models", "steering"},
    "storage": {"storage", "steering.types", "steering.errors"},
    "ui": {"ui", "models", "storage", "steering"},
    "benchmarks": {"benchmarks", "ui", "models", "storage", "steering"},
    "app": {"ui", "models", "storage", "steering"},
}
# The only third-party packages of a room, and packages that have a home elsewhere.
ONLY_PACKAGES = {
    "steering": {"torch"},
    "storage": {"sqlalchemy", "alembic", "numpy", "choix", "krippendorff", "pyarrow"},
}
HOMES = {
    "sqlalchemy": {"storage"},
    "alembic": {"storage"},
    "transformers": {"models", "benchmarks"},
    "peft": {"models", "benchmarks"},
    "gradio": {"ui", "app"},
}
WITHOUT_GRADIO = {"ui.actions", "ui.settings", "ui.cli"}

MAX_FILE_LINES = 300
MAX_TEST_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_BUILDER_LINES = 80  # functions of ui/ that lay out a page read as lists
MAX_APP_LINES = 80

# Calls that build something heavy or lasting; they belong in a function, never at the top of a module.
BUILDERS = {
    "create_engine",
    "sessionmaker",
    "scoped_session",
    "Session",
    "connect",
    "Blocks",
    "from_pretrained",
    "open",
}


def source_files() -> dict[str, str]:
    """Every Python file of the rooms, app.py and the tests, as path relative to the root -> source."""
    paths = [ROOT / "app.py"] + [path for room in (*ROOMS, "tests") for path in sorted((ROOT / room).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def module_name(path: str) -> str:
    """`ui/components/__init__.py` -> `ui.components`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported_names(source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, those inside functions too; `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (f"{node.module}." if node.module else "")
            yield from ((node.lineno, prefix + alias.name) for alias in node.names)


def import_violations(path: str, source: str) -> list[str]:
    """Imports that go against the directions of the rooms."""
    module = module_name(path)
    room = module.split(".")[0]
    if room == "tests":
        return []
    found = []
    for line, name in imported_names(source):
        top = name.split(".")[0]
        if name.startswith("."):
            found.append(f"{path}:{line} imports {name}: relative imports hide the room")
        elif top in OUR_ROOTS:
            if not any(name == allowed or name.startswith(f"{allowed}.") for allowed in MAY_IMPORT[room]):
                found.append(f"{path}:{line} imports {name}: {room} may not know it")
        elif top not in sys.stdlib_module_names and (
            (room in ONLY_PACKAGES and top not in ONLY_PACKAGES[room])
            or (top in HOMES and room not in HOMES[top])
            or (top == "gradio" and module in WITHOUT_GRADIO)
        ):
            found.append(f"{path}:{line} imports {name}: the package does not belong here")
    return found


def length_violations(path: str, source: str) -> list[str]:
    """Files and functions that are too long."""
    is_test, n_lines = path.startswith("tests/"), source.count("\n")
    limit = MAX_APP_LINES if path == "app.py" else MAX_TEST_FILE_LINES if is_test else MAX_FILE_LINES
    found = [f"{path} has {n_lines} lines, at most {limit}"] if n_lines > limit else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_test:
            assert node.end_lineno is not None
            n_lines = node.end_lineno - node.lineno + 1
            builds = path.startswith("ui/") and node.name.lstrip("_").startswith("build")
            limit = MAX_BUILDER_LINES if builds else MAX_FUNCTION_LINES
            if n_lines > limit:
                found.append(f"{path}:{node.lineno} {node.name} has {n_lines} lines, at most {limit}")
    return found


def run_at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node executed when the module is imported: all but the bodies of functions and of the main guard."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, ast.Lambda) or (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)):
            continue
        else:
            waiting += ast.iter_child_nodes(node)


def import_time_violations(path: str, source: str) -> list[str]:
    """Reads of the environment and things built at import, and `global`, which is module state by another name."""
    tree = ast.parse(source)
    found = [f"{path}:{node.lineno} has module state" for node in ast.walk(tree) if isinstance(node, ast.Global)]
    for node in run_at_import(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in {"environ", "getenv", "environb"}:
            found.append(f"{path}:{node.lineno} reads the environment at import")  # type: ignore[attr-defined]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")[-1]
            if called in BUILDERS:
                found.append(f"{path}:{node.lineno} calls {called} at import")
    return [] if path.startswith("tests/") else found


def import_cycle(sources: Mapping[str, str]) -> list[str]:
    """One cycle among our modules as a list of names that ends where it starts, or nothing."""
    modules = {module_name(path): source for path, source in sources.items()}
    graph: dict[str, set[str]] = {}
    for module, source in modules.items():
        names = {name if name in modules else name.rpartition(".")[0] for _, name in imported_names(source)}
        graph[module] = (names & modules.keys()) - {module}
    finished: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module not in finished:
            for target in sorted(graph[module]):
                if cycle := visit(target, [*trail, module]):
                    return cycle
            finished.add(module)
        return []

    return next((cycle for module in sorted(graph) if (cycle := visit(module, []))), [])


def modules_loaded_by(*names: str) -> set[str]:
    """The modules in a fresh interpreter after importing `names`."""
    code = f"import sys, json, {', '.join(names)}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def room_modules(room: str) -> list[str]:
    """Importable modules of a room; migrations are scripts that Alembic runs, not modules."""
    return [module_name(path) for path in source_files() if path.startswith(f"{room}/") and "migrations/" not in path]


CHECKS: list[Callable[[str, str], list[str]]] = [import_violations, length_violations, import_time_violations]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_code_keeps_the_rule(check: Callable[[str, str], list[str]]) -> None:
    assert [found for path, source in source_files().items() for found in check(path, source)] == []


def test_there_are_no_import_cycles() -> None:
    assert import_cycle(source_files()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("steering/mixing.py", "import numpy"),
        ("steering/mixing.py", "def f():\n    import transformers"),
        ("steering/mixing.py", "from models.cache import RowCache"),
        ("models/engine.py", "from storage.records import Generation"),
        ("models/engine.py", "if True:\n    import gradio as gr"),
        ("models/engine.py", "from app import main"),
        ("models/engine.py", "from . import cache"),
        ("storage/records.py", "from steering import mixing"),
        ("storage/records.py", "import steering.decoder"),
        ("storage/records.py", "import torch"),
        ("ui/actions.py", "def f():\n    from gradio import Blocks"),
        ("ui/page.py", "import sqlalchemy.orm"),
        ("ui/page.py", "from transformers import AutoTokenizer"),
        ("ui/page.py", "import tests.ui.fakes"),
        ("app.py", "import benchmarks.decode"),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str) -> None:
    assert len(import_violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("steering/mixing.py", "import torch.nn.functional as F\nimport math\nfrom steering.types import Blend"),
        (
            "storage/records.py",
            "from steering.types import Blend\nfrom steering import errors\nimport sqlalchemy as sa",
        ),
        (
            "ui/components/steer.py",
            "import gradio as gr\nfrom storage.records import Choice\nfrom models import engine",
        ),
        ("models/loading.py", "import peft\nfrom steering.errors import LoadError"),
    ],
)
def test_an_allowed_import_is_not_reported(path: str, source: str) -> None:
    assert import_violations(path, source) == []


@pytest.mark.parametrize(
    ("path", "n_lines", "too_long"),
    [
        ("models/a.py", 300, False),
        ("models/a.py", 301, True),
        ("tests/a.py", 500, False),
        ("tests/a.py", 501, True),
        ("app.py", 80, False),
        ("app.py", 81, True),
    ],
)
def test_a_long_file_is_found(path: str, n_lines: int, too_long: bool) -> None:
    assert bool(length_violations(path, "x = 1\n" * n_lines)) is too_long


@pytest.mark.parametrize(
    ("path", "name", "n_lines", "too_long"),
    [
        ("models/a.py", "build_it", 60, False),
        ("models/a.py", "build_it", 61, True),
        ("ui/a.py", "build_it", 80, False),
        ("ui/a.py", "build_it", 81, True),
        ("ui/a.py", "handle", 61, True),
    ],
)
def test_a_long_function_is_found(path: str, name: str, n_lines: int, too_long: bool) -> None:
    source = f"class A:\n  async def {name}(self):\n" + "    x = 1\n" * (n_lines - 1)
    assert bool(length_violations(path, source)) is too_long


@pytest.mark.parametrize(
    "source",
    [
        "import os\nHOME = os.environ['HOME']",
        "import os\nclass A:\n    home = os.getenv('HOME')",
        "from os import environ\ndef f(home=environ.get('HOME')): ...",
        "import gradio as gr\nwith gr.Blocks() as page: ...",
        "engine = sa.create_engine('sqlite://')",
        "try:\n    model = AutoModel.from_pretrained('x')\nexcept OSError: ...",
        "WORDS = open('words.txt').read()",
        "state = None\ndef f():\n    global state\n    state = 1",
    ],
)
def test_work_or_state_at_import_is_found(source: str) -> None:
    assert import_time_violations("models/a.py", source)


def test_work_inside_functions_and_the_main_guard_is_not_reported() -> None:
    source = "import os\ndef f():\n    return open(os.environ['X'])\nif __name__ == '__main__':\n    open('x')"
    assert import_time_violations("models/a.py", source) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"models/a.py": "import models.b", "models/b.py": "def f():\n    from models import a"},
        {
            "models/a.py": "from models.b import X",
            "models/b.py": "from models.c import Y",
            "models/c.py": "import models.a",
        },
    ],
)
def test_an_import_cycle_is_found_also_when_it_hides_in_a_function(sources: dict[str, str]) -> None:
    cycle = import_cycle(sources)
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {module_name(path) for path in sources}


@pytest.mark.parametrize(
    ("room", "unwelcome"),
    [
        ("steering", {"transformers", "peft", "gradio", "sqlalchemy"}),
        ("models", {"gradio", "sqlalchemy", "alembic"}),
        ("storage", {"torch", "transformers", "gradio"}),
    ],
)
def test_importing_a_room_loads_no_other_rooms_packages(room: str, unwelcome: set[str]) -> None:
    assert unwelcome & modules_loaded_by(*room_modules(room)) == set()


@pytest.mark.parametrize(
    ("module", "unwelcome"),
    [
        ("app", {"torch", "transformers", "gradio", "sqlalchemy"}),
        ("ui.settings", {"torch", "transformers", "gradio", "sqlalchemy"}),
        ("ui.actions", {"gradio"}),
        ("ui.cli", {"gradio"}),
    ],
)
def test_importing_a_light_module_loads_nothing_heavy(module: str, unwelcome: set[str]) -> None:
    assert unwelcome & modules_loaded_by(module) == set()


def test_what_an_import_loads_is_really_seen() -> None:
    assert "sqlite3" in modules_loaded_by("sqlite3")

"""What has to agree across files: README, Spaces, requirements, constraints, options and their table, the image."""

import ast
import re
import subprocess
from dataclasses import fields
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ui.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = ("steering", "models", "storage", "ui")
SPACES_COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def front_matter(text: str) -> dict[str, str]:
    """The flat `key: value` lines between the first two `---` lines, quotes removed."""
    head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert head, "the README does not start with front matter"
    pairs = (line.split(": ", 1) for line in head[1].splitlines())
    return {key: value.strip().strip('"') for key, value in pairs}


def requirements(name: str) -> list[Requirement]:
    """The requirements a file lists itself, without comments and -r lines."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def constraints() -> dict[str, Version]:
    """Package -> the one version that is tested."""
    found: dict[str, Version] = {}
    for requirement in requirements("constraints.txt"):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{requirement} is not exact"
        found[canonicalize_name(requirement.name)] = Version(specifier.version)
    return found


def third_party_imports() -> set[str]:
    """The distributions whose modules the rooms and app.py import, also inside functions."""
    roots: set[str] = set()
    for path in [ROOT / "app.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                roots.add(node.module.split(".")[0])
    installed = packages_distributions()
    return {canonicalize_name(installed[root][0]) for root in roots - {*ROOMS, "tests"} if root in installed}


def test_spaces_finds_what_it_needs_in_the_front_matter() -> None:
    space = front_matter(README)
    assert (space["sdk"], space["app_file"], space["license"]) == ("gradio", "app.py", "apache-2.0")
    assert space["python_version"] == "3.12"
    assert space["hf_oauth"] in (True, "true")  # lets judges log in
    assert (ROOT / space["app_file"]).is_file()
    assert 0 < len(space["short_description"]) <= 60
    assert {space["colorFrom"], space["colorTo"]} <= SPACES_COLOURS
    assert space["title"]
    assert space["emoji"]


def test_spaces_runs_the_gradio_that_is_tested() -> None:
    assert Version(front_matter(README)["sdk_version"]) == constraints()["gradio"]


def test_the_readme_names_the_torch_that_is_tested() -> None:
    named = re.findall(r"torch==([\d.]+)", README)
    assert named == [str(constraints()["torch"])]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_a_range_that_holds_the_tested_version(name: str) -> None:
    tested = constraints()
    for requirement in requirements(name):
        assert requirement.specifier, f"{requirement.name} has no range"
        assert tested[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_constraints_carry_no_build_suffix_and_no_cuda_package() -> None:
    tested = constraints()
    assert [name for name, version in tested.items() if version.local] == []
    assert [name for name in tested if name.startswith(("nvidia", "cuda", "triton"))] == []


def test_every_package_the_code_imports_is_required() -> None:
    required = {canonicalize_name(requirement.name) for requirement in requirements("requirements.txt")}
    assert third_party_imports() - required == set()


def test_every_required_package_is_imported_or_says_why_it_is_there() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    explained = {
        canonicalize_name(Requirement(line.split("#")[0]).name) for line in lines if "  # not imported:" in line
    }
    required = {canonicalize_name(requirement.name) for requirement in requirements("requirements.txt")}
    assert required - third_party_imports() == explained


@pytest.mark.parametrize("name", [setting.name for setting in fields(Settings)])
def test_the_readmes_table_has_every_option_with_its_variable(name: str) -> None:
    assert f"| `--{name.replace('_', '-')}` | `TILLER_{name.upper()}` |" in README


def test_the_readmes_table_has_no_option_that_is_gone() -> None:
    listed = {option.replace("-", "_") for option in re.findall(r"^\| `--([a-z-]+)`", README, re.MULTILINE)}
    assert listed == {setting.name for setting in fields(Settings)}


def test_every_local_link_and_picture_of_the_readme_exists() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


def test_the_licence_is_apache_2_in_full() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def dockerfile() -> dict[str, list[str]]:
    """Instruction -> its arguments, with continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            instruction, _, argument = line.strip().partition(" ")
            found.setdefault(instruction, []).append(argument.strip())
    return found


def test_the_image_is_slim_unprivileged_on_cpu_and_checks_its_health() -> None:
    image = dockerfile()
    assert image["FROM"] == ["python:3.12-slim"]
    assert image["ARG"] == ["TORCH_BUILD=cpu"]
    assert image["USER"] == ["1000"]
    assert image["EXPOSE"] == ["7860"]
    assert "TILLER_PORT" in image["HEALTHCHECK"][0]
    assert image["STOPSIGNAL"] == ["SIGINT"]


def test_the_image_only_sets_variables_that_exist() -> None:
    names = re.findall(r"(TILLER_\w+)", " ".join(" ".join(arguments) for arguments in dockerfile().values()))
    assert set(names) <= {f"TILLER_{setting.name.upper()}" for setting in fields(Settings)}


def test_the_image_installs_the_tested_set() -> None:
    commands = [command for run in dockerfile()["RUN"] for command in run.split("&&") if "pip install" in command]
    assert len(commands) == 2
    assert all("-c constraints.txt" in command for command in commands)


@pytest.mark.parametrize(
    ("given", "expected"), [("", "{data}"), ("/elsewhere", "/elsewhere")], ids=["data folder", "chosen folder"]
)
def test_the_images_start_command_puts_the_data_where_it_lasts(given: str, expected: str, tmp_path: Path) -> None:
    script = ast.literal_eval(dockerfile()["ENTRYPOINT"][0])[2]
    shown = script.replace("exec python app.py", "echo $TILLER_HOME").replace("/data", str(tmp_path))
    done = subprocess.run(
        ["sh", "-c", shown, "tiller", "--port", "1"],
        env={"TILLER_HOME": given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [expected.format(data=tmp_path), "--port", "1"]


def test_a_python_that_is_too_old_is_refused_with_what_was_found(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\ncase "$2" in *platform*) echo 3.9.2;; *) exit 1;; esac\n')
    old.chmod(0o755)
    done = subprocess.run(
        [ROOT / ".ci/make-venv", tmp_path / "venv"],
        env={"PYTHON": str(old), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "3.9.2" in done.stderr
    assert "Python 3.11" in done.stderr
    assert not (tmp_path / "venv").exists()

"""Which part may import which other part, and which libraries the board never loads."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "runtime": {"runtime"},
    "calibration": {"calibration", "runtime"},
    "boards": {"boards", "runtime"},
    "convert": {"convert", "calibration", "boards", "runtime"},
}
# The packages of runtime. Each may import the packages named here, and the packages that those may import.
PACKAGES = {
    "core": set(),
    "backends": {"core"},
    "vision": {"backends"},
    "inference": {"vision"},
    "cameras": {"inference"},
    "gallery": {"vision"},
    "tracking": {"cameras", "gallery"},
    "enrollment": {"gallery", "inference"},
    "events": {"tracking"},
    "alerts": {"events"},
    "hub": {"events", "enrollment"},
    "service": {"alerts", "hub"},
    "frigate": {"service"},
    "web": {"service"},
    "hub_console": {"web"},
    "cli": {"frigate", "hub_console"},
}

# The packages of convert, and the packages and modules of convert that each may import.
CONVERT = {
    "prepare": {"native_steps"},
    "toolkit": {"image_lists"},
    "tuning": {"editable_graph", "image_lists", "mosaic", "recipe", "same_outputs"},
    "evaluate": {
        "toolkit", "acquire", "image_lists", "label_files", "metric_bar", "pair_search", "people_folders",
        "prepared_model", "recipe", "recipe_cost", "recipe_search", "refit", "run_recipe", "simplify", "targets",
    },
    "report": {"toolkit", "evaluate", "cost", "pair_search", "preprocessing", "recipe", "recipe_search"},
}  # fmt: skip


def module_of(path: Path) -> str:
    """``runtime/core/text.py`` → ``rkface.runtime.core.text``; a package is named by its ``__init__.py``."""
    return ".".join(("rkface", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_of(path): path for part in PARTS for path in (ROOT / part).rglob("*.py")}


def imports(module: str) -> set[str]:
    """Absolute names of all imports of a module, including those inside functions and those for type checking only."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *filter(None, [node.module])])
            names |= {f"{start}.{alias.name}" for alias in node.names}
    return names


def find_module(name: str) -> str:
    """The module of this project that contains an imported name; "" for names of other projects."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


@cache
def all_imports() -> dict[str, set[str]]:
    """The imports of each module. Not when this file is imported, which every process of `make test` does."""
    return {module: imports(module) for module in MODULES}


@cache
def arrows_of_all() -> dict[str, set[str]]:
    """The modules of this project that each module imports."""
    return {module: {find_module(name) for name in names} - {"", module} for module, names in all_imports().items()}


def allowed(package: str) -> set[str]:
    return {package}.union(*(allowed(other) for other in PACKAGES[package]))


@pytest.mark.parametrize("part", PARTS)
def test_the_four_folders_import_only_what_the_design_allows(part):
    for module, arrows in arrows_of_all().items():
        if module.split(".")[1] == part:
            parts = {arrow.split(".")[1] for arrow in arrows}
            assert parts <= PARTS[part], f"{module} imports {sorted(parts - PARTS[part])}"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_of_the_runtime_import_only_what_the_table_allows(package):
    for module, arrows in arrows_of_all().items():
        if module.startswith("rkface.runtime.") and module.split(".")[2] == package:
            found = {arrow.split(".")[2] for arrow in arrows if arrow.startswith("rkface.runtime.")}
            assert found <= allowed(package), f"{module} imports {sorted(found - allowed(package))}"


@pytest.mark.parametrize("package", CONVERT)
def test_packages_of_convert_import_only_what_the_table_allows(package):
    for module, arrows in arrows_of_all().items():
        if module.startswith(f"rkface.convert.{package}."):
            found = {arrow.split(".")[2] for arrow in arrows if arrow.startswith("rkface.convert.")}
            assert found <= {package, *CONVERT[package]}, f"{module} imports {sorted(found - CONVERT[package])}"


def test_every_module_of_the_runtime_is_in_a_package():
    flat = [path.name for path in (ROOT / "runtime").glob("*.py") if path.name != "__init__.py"]
    folders = {path.parent.name for path in (ROOT / "runtime").glob("*/*.py")}
    assert flat == [] and folders == set(PACKAGES)


def test_there_are_no_import_cycles():
    try:
        TopologicalSorter(arrows_of_all()).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_only_the_worker_imports_the_toolkit():
    users = {module for module, names in all_imports().items() if any(name.split(".")[0] == "rknn" for name in names)}
    assert users <= {"rkface.convert.toolkit.worker"}


def loaded_modules(code: str, heavy: set[str]) -> str:
    """Which modules of ``heavy`` a new Python process has loaded after ``code``."""
    show = f"; import sys; print(sorted({heavy!r} & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", code + show], capture_output=True, text=True, check=True).stdout


def test_the_service_loads_no_receiver_backend_or_camera_before_it_is_used():
    # What is imported here delays the first person who is recognized.
    receivers = ("webhook", "mqtt", "mqtt_connection", "broker", "push")
    parts = {f"rkface.runtime.{name}" for name in (
        *(f"events.{name}" for name in receivers), "hub.connection", "backends.npu", "backends.bindings",
        "backends.reference", "cameras.rtsp",
    )}  # fmt: skip
    code = "import rkface.runtime.cli.run, rkface.runtime.service.service"
    libraries = {"ssl", "http.client", "importlib.metadata", "email", "statistics", "zoneinfo", "shutil"}
    assert loaded_modules(code, {*parts, *libraries}) == "[]\n"


def test_the_cameras_of_the_service_begin_before_the_rest_is_imported():
    packages = {"events", "gallery", "tracking", "alerts", "hub", "enrollment", "web"}
    early = {"gallery.companions", "tracking.rules", "alerts.rule", "alerts.check", "hub.embedded"}  # for settings, too
    late = {name for name in MODULES if name.startswith("rkface.runtime.") and name.split(".")[2] in packages}
    late -= {f"rkface.runtime.{name}" for name in (*early, *packages)}
    code = "import rkface.runtime.cli.run, rkface.runtime.service.service"
    assert loaded_modules(code, {*late, "sqlite3", "difflib"}) == "[]\n"


def test_what_answers_requests_is_imported_when_it_is_wanted():
    code = "import rkface.runtime.service.resources, rkface.runtime.service.camera_watch\n"
    code += "import rkface.runtime.service.service, rkface.runtime.service.housekeeping\npass"
    parts = ("requests", "enrollment_requests", "photo_requests", "stranger_requests", "service_erasure")
    assert loaded_modules(code, {f"rkface.runtime.service.{name}" for name in parts}) == "[]\n"


def test_the_main_path_of_the_runtime_loads_no_heavy_library():
    code = "import rkface.runtime.inference.pipeline, rkface.runtime.vision.image, rkface.runtime.cli.main"
    assert loaded_modules(code, {"onnx", "onnxruntime", "torch", "rknn", "scipy", "rkface.convert"}) == "[]\n"


def test_help_loads_neither_numpy_nor_opencv():
    # Neither for all commands nor for one. `rkface --help` may take 0.15 s, and importing these libraries alone takes
    # twice as long.
    code = "from rkface.runtime.cli.parser import all_parsers, build_parser\n"
    code += "for parser in all_parsers(build_parser()): parser.format_help()\npass"
    assert loaded_modules(code, {"numpy", "cv2", "onnx", "torch"}) == "[]\n"


def test_the_libraries_of_the_console_are_loaded_only_by_the_web_server():
    code = "import rkface.runtime.service.service, rkface.runtime.cli.run, rkface.runtime.web.password"
    assert loaded_modules(code, {"fastapi", "starlette", "pydantic", "uvicorn", "websockets", "argon2"}) == "[]\n"

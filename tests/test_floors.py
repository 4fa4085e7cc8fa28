"""The house's floors: an import goes down, never up; torch stays on floor 3; only faces print."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "defake"

# The first matching prefix decides. A new module must be given a floor.
FLOORS = {
    0: ["errors", "records", "registry"],
    1: ["questions", "metrics", "perturb"],
    2: ["images", "heatmap", "provenance", "evidence", "published", "datasets", "store"],
    3: ["detectors", "lmms", "similarity"],
    4: [
        "annotation",
        "audit",
        "bench",
        "calibrate",
        "checking",
        "evaluate",
        "report",
        "reproduce",
        "robustness",
        "scan",
        "training",
    ],
    5: ["cli", "server", "__main__", "__init__"],
}
HEAVY = {"torch", "transformers", "peft", "accelerate", "inspect_ai", "ray", "fastapi", "onnxruntime", "sklearn",
         "matplotlib", "pyarrow", "sentence_transformers", "onnx"}  # fmt: skip
MAX_MODULE_LINES, MAX_BODY_LINES = 400, 40


def modules():
    """Every module of the package as (dotted name below defake, path)."""
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts), path


def floor_of(name):
    """The floor of a dotted module name."""
    top = name.split(".")[0]
    for floor, tops in FLOORS.items():
        if top in tops:
            return floor
    raise AssertionError(f"module {name!r} has no floor: add it to FLOORS")


def is_type_checking(node):
    """Whether a statement is an `if TYPE_CHECKING:` block."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(tree, package, *, top_level_only):
    """Dotted names imported, absolute; type-checking blocks left out."""
    skipped = {id(x) for node in ast.walk(tree) if is_type_checking(node) for x in ast.walk(node)}
    if top_level_only:
        skipped |= {id(x) for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
                    for x in ast.walk(node)}  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (
                f"{module}.{alias.name}" if node.level or module == "defake" else module for alias in node.names
            )


def package_of(path):
    """The package a module's relative imports start from."""
    return ["defake", *path.parent.relative_to(SRC).parts]


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda x: str(x) if isinstance(x, str) else "")
def test_an_import_goes_down(name, path):
    """No module imports from a floor above its own, not even inside a function."""
    own = floor_of(name)
    for target in imports(ast.parse(path.read_text()), package_of(path), top_level_only=False):
        if target.startswith("defake.") and name != "__init__":
            top = target.split(".")[1]
            if (SRC / top).exists() or (SRC / f"{top}.py").exists():
                assert floor_of(top) <= own, f"{name} (floor {own}) imports {target}"


def test_heavy_libraries_wait():
    """Heavy libraries are imported at module level on floors 3 and 4 only; elsewhere inside the function."""
    for name, path in modules():
        found = {t.split(".")[0] for t in imports(ast.parse(path.read_text()), package_of(path), top_level_only=True)}
        assert floor_of(name) in (3, 4) or not (found & HEAVY), f"{name}: {found & HEAVY}"


def test_no_import_cycle():
    """The modules form no cycle through top-level imports."""
    names = {f"defake.{n}".removesuffix(".__init__"): p for n, p in modules()}
    edges = {}
    for name, path in names.items():
        out = set()
        for target in imports(ast.parse(path.read_text()), package_of(path), top_level_only=True):
            candidate = target if target in names else target.rpartition(".")[0]
            if candidate in names and candidate != name:
                out.add(candidate)
        edges[name] = out
    done, path_now = set(), []

    def visit(node):
        if node in done:
            return
        assert node not in path_now, " -> ".join([*path_now[path_now.index(node) :], node])
        path_now.append(node)
        for after in sorted(edges[node]):
            visit(after)
        path_now.pop()
        done.add(node)

    for node in sorted(edges):
        visit(node)


def test_only_faces_print():
    """`print` is called on floor 5 alone."""
    for name, path in modules():
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        prints = [n for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"]
        assert not prints or floor_of(name) == 5, f"{name}:{prints[0].lineno} prints"


def test_nothing_outgrew_its_idea():
    """No module is over 400 lines, no function body over 40 (docstring not counted)."""
    long = []
    for name, path in modules():
        text = path.read_text()
        if len(text.splitlines()) > MAX_MODULE_LINES:
            long.append(f"{name}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                size = body[-1].end_lineno - body[0].lineno + 1
                if size > MAX_BODY_LINES:
                    long.append(f"{name}.{node.name}: {size} lines")
    assert not long, "\n".join(long)


def test_no_drawer_for_odds_and_ends():
    """No module is called utils, common, core, helpers or misc."""
    drawers = {"utils", "common", "core", "helpers", "misc"}
    assert not [n for n, _ in modules() if drawers & set(n.split("."))]

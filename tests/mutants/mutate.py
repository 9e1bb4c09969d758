"""One-token mutants of a module, and how one is put into a running interpreter.

Kinds, each tried wherever it applies outside of annotations and `if TYPE_CHECKING`:

- `dropcall`: a call whose value nobody uses is left out;
- `cmp`: `==` `!=`, `<` `<=`, `>` `>=`, `is` `is not`, `in` `not in` take each other's place;
- `bool`: `True` and `False`; `and` and `or`; a `not` is left out;
- `num`: a number is one more;
- `arith`: `+` and `-`, `*` and `/`.
"""

from __future__ import annotations

import ast
import copy
import functools
import sys
import types
from collections import Counter
from pathlib import Path

from entrypoint.core.record import Record

_SWAPS: dict[type, type] = {}
for _one, _other in (
    (ast.Eq, ast.NotEq),
    (ast.Lt, ast.LtE),
    (ast.Gt, ast.GtE),
    (ast.Is, ast.IsNot),
    (ast.In, ast.NotIn),
    (ast.And, ast.Or),
    (ast.Add, ast.Sub),
    (ast.Mult, ast.Div),
):
    _SWAPS[_one], _SWAPS[_other] = _other, _one
_SWAPS[ast.FloorDiv] = ast.Mult


class Mutant(Record):
    """`scope`: the outermost function, class or name that holds it."""

    path: str
    line: int
    column: int
    kind: str
    scope: str
    code: str  # its line of the source
    number: int  # of its kind's places in the module
    nth: int  # of those that are alike in path, scope, kind and code, from 1
    first: int  # lines of the statement that holds it, without the statements inside
    last: int

    @property
    def name(self) -> str:
        """Unique, and the same wherever its line moves to."""
        return f"{self.path} {self._rest}"

    @property
    def text(self) -> str:
        """The name, with its place for people."""
        return f"{self.path}:{self.line}:{self.column}: {self._rest}"

    @property
    def _rest(self) -> str:
        return f"{self.scope} [{self.kind}] {self.code}" + (f" #{self.nth}" * (self.nth > 1))


def mutants(path: str) -> list[Mutant]:
    """All of a module, in the order of its source."""
    text = Path(path).read_text(encoding="utf-8")
    lines = text.splitlines()
    found = []
    for number, (node, kind, scope, statement) in enumerate(_places(ast.parse(text))):
        body = getattr(statement, "body", None)
        last = max(statement.lineno, body[0].lineno - 1) if body else statement.end_lineno
        position = (node.lineno, node.col_offset, kind, scope, lines[node.lineno - 1].strip())
        found.append(Mutant(path, *position, number, 1, statement.lineno, last))
    found.sort(key=lambda each: (each.line, each.column, each.number))
    alike: Counter[str] = Counter()
    for position, each in enumerate(found):
        alike[each.name] += 1
        found[position] = each.replace(nth=alike[each.name])
    return found


def _places(tree: ast.Module):
    """(node, kind, scope, statement that holds it), always in the same order."""
    for statement in tree.body:
        yield from _below(statement, "", statement)


def _below(node: ast.AST, scope: str, statement: ast.stmt):
    if isinstance(node, ast.stmt):
        statement = node
    if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
        for other in node.orelse:
            yield from _below(other, scope, statement)
        return
    if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "TYPE_CHECKING":
        return
    inside = _scope(node, scope)
    yield from ((node, kind, inside, statement) for kind in _kinds(node))
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _below(child, inside, statement)


def _scope(node: ast.AST, outer: str) -> str:
    """Of what stands in `node`: names at the top of the module and of classes count."""
    if outer and not outer.endswith("."):
        return outer
    if isinstance(node, ast.FunctionDef):
        return outer + node.name
    if isinstance(node, ast.ClassDef):
        return f"{outer}{node.name}."
    if isinstance(node, ast.Assign):
        names = [each.id for each in ast.walk(node.targets[0]) if isinstance(each, ast.Name)]
        return outer + ",".join(names)
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return outer + node.target.id
    return outer


def _kinds(node: ast.AST):
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "dropcall"
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _SWAPS:
        yield "cmp"
    elif isinstance(node, ast.BoolOp) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    ):
        yield "bool"
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _SWAPS:
        yield "arith"
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "bool"
        elif isinstance(node.value, int | float):
            yield "num"


class _Change(ast.NodeTransformer):
    def __init__(self, chosen: ast.AST, kind: str) -> None:
        self._chosen = chosen
        self._kind = kind

    def visit(self, node: ast.AST) -> ast.AST:
        if node is not self._chosen:
            return self.generic_visit(node)
        return ast.copy_location(_changed(node, self._kind), node)


def _changed(node, kind: str) -> ast.AST:
    if kind == "dropcall":
        return ast.Pass()
    changed = copy.copy(node)
    if isinstance(node, ast.Compare):
        changed.ops = [_SWAPS[type(node.ops[0])]()]
    elif isinstance(node, ast.UnaryOp):
        return node.operand
    elif isinstance(node, ast.Constant):
        changed.value = not node.value if isinstance(node.value, bool) else node.value + 1
    else:
        changed.op = _SWAPS[type(node.op)]()
    return changed


@functools.cache
def source(path: str) -> str:
    """The text of a module when it was asked for first."""
    return Path(path).read_text(encoding="utf-8")


def compiled(mutant: Mutant) -> types.CodeType:
    """The whole module with that change."""
    tree = ast.parse(source(mutant.path))
    node, kind, *_ = list(_places(tree))[mutant.number]
    return compile(ast.fix_missing_locations(_Change(node, kind).visit(tree)), mutant.path, "exec")


def module_name(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def install(mutant: Mutant) -> bool:
    """Put it into the modules that are loaded; False when there is nothing to put it into.

    Raises what the changed module raises while it is loaded.
    """
    name = module_name(mutant.path)
    fresh = types.ModuleType(name)
    fresh.__package__ = name.rpartition(".")[0]
    fresh.__file__ = mutant.path
    exec(compiled(mutant), fresh.__dict__)
    live = sys.modules[name]
    owner, _, attribute = mutant.scope.rpartition(".")
    if owner == "_RecordType" or not attribute:
        return False  # it has done its work: only an interpreter that begins can show it
    if owner:
        return _into_class(getattr(live, owner), getattr(fresh, owner), attribute)
    if isinstance(vars(live)[attribute.split(",")[0]], types.FunctionType):
        return _into_function(vars(live)[attribute], vars(fresh)[attribute])
    for name in attribute.split(","):
        _into_constants(name, vars(live)[name], vars(fresh)[name])
    return True


def _into_constants(name: str, old: object, new: object) -> None:
    """Also where it was imported by its name."""
    for each in list(sys.modules.values()):
        if each.__name__.startswith("entrypoint.") and vars(each).get(name) is old:
            setattr(each, name, new)


def _into_class(old: type, new: type, attribute: str) -> bool:
    if attribute in getattr(old, "_defaults", {}) and attribute not in vars(old).get(
        "__dict__", ()
    ):
        value = new._defaults[attribute]
        for each in (old, *old.__subclasses__()):
            each._defaults[attribute] = value
        return True
    one, other = vars(old).get(attribute), vars(new).get(attribute)
    if isinstance(one, property):
        one, other = one.fget, other.fget
    elif isinstance(one, staticmethod | classmethod):
        one, other = one.__func__, other.__func__
    if isinstance(one, types.FunctionType):
        return _into_function(one, other)
    return False


def _into_function(old: types.FunctionType, new: types.FunctionType) -> bool:
    old.__code__ = new.__code__
    old.__defaults__ = new.__defaults__
    old.__kwdefaults__ = new.__kwdefaults__
    return True

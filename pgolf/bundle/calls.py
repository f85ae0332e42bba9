"""What all calls of a function have in common goes into the function: arguments that never differ, results that cannot.

Only of functions and classes that are named nowhere but where they are called, and methods whose name nothing else has,
so that every call is known. And what attributes have in all objects goes to where they are read.
"""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pgolf.bundle.dead import is_pure
from pgolf.bundle.spelled import spelled
from pgolf.bundle.walk import walk


def fixed_arguments(statements: Sequence[ast.stmt], shared: Iterable[str] = ()) -> dict[str, dict[str, ast.Constant]]:
    """Function, .method or Class() -> parameter -> the constant that all calls pass, None for one that nothing reads.

    These are taken out of the calls and signatures; the caller puts them in place of the parameters. shared: names of
    methods that libraries have too.
    """
    functions = _only_called(statements) | _methods_only_called(statements, set(shared)) | _only_made(statements)
    found: dict[str, dict[str, ast.Constant]] = {}
    for name, (function, calls) in functions.items():
        arguments = function.args
        if arguments.vararg or arguments.kwarg or arguments.posonlyargs or not calls:
            continue
        first_given = 1 if name.startswith(".") or name.endswith(")") else 0
        positional = [one.arg for one in arguments.args[first_given:]]
        defaults = dict(zip(positional[::-1], arguments.defaults[::-1], strict=False))
        keyword_only = {one.arg: value for one, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)}
        defaults |= {one: value for one, value in keyword_only.items() if value is not None}
        own: dict[str, ast.Constant] = {}
        rebound = {
            one.id for one in walk(function) if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load)
        } | {one.arg for inner in walk(function) if inner is not arguments for one in _inner_arguments(inner)}
        read = {one.id for statement in function.body for one in walk(statement) if isinstance(one, ast.Name)}
        for parameter in (*positional, *keyword_only):
            given = [_given(call, parameter, positional) or defaults.get(parameter) for call in calls]
            first = given[0]
            if parameter not in read | rebound and all(one is not None and is_pure(one) for one in given):
                own[parameter] = ast.Constant(None)
                continue
            if (
                isinstance(first, ast.Constant)
                and parameter not in rebound
                and all(
                    isinstance(one, ast.Constant) and type(one.value) is type(first.value) and one.value == first.value
                    for one in given
                )
            ):
                own[parameter] = first
        if own:
            found[name] = own
            _take_out(function, calls, positional, set(own))
        _drop_defaults(arguments, calls, first_given)
    return found


def _inner_arguments(node: ast.AST) -> list[ast.arg]:
    if not isinstance(node, ast.arguments):
        return []
    return [*node.args, *node.kwonlyargs, *(one for one in (node.vararg, node.kwarg) if one is not None)]


def _only_called(statements: Sequence[ast.stmt]) -> dict[str, tuple[ast.FunctionDef, list[ast.Call]]]:
    """Functions without decorators that every mention calls, plainly, with those calls."""
    functions = {one.name: one for one in statements if isinstance(one, ast.FunctionDef) and not one.decorator_list}
    calls: dict[str, list[ast.Call]] = {name: [] for name in functions}
    mentions: dict[str, int] = dict.fromkeys(functions, 0)
    for statement in statements:
        for node in walk(statement):
            if isinstance(node, ast.Name) and node.id in mentions:
                mentions[node.id] += 1
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls:
                calls[node.func.id].append(node)
    return {
        name: (function, calls[name])
        for name, function in functions.items()
        if mentions[name] == len(calls[name]) and all(_is_spelled_out(call) for call in calls[name])
    }


def _methods_only_called(
    statements: Sequence[ast.stmt], shared: set[str]
) -> dict[str, tuple[ast.FunctionDef, list[ast.Call]]]:
    """As `_only_called`, by .name: of methods that one class alone has, and that no string and no library may name."""
    methods: dict[str, list[ast.FunctionDef]] = {}
    declared, mentions, calls = set(shared), Counter[str](), dict[str, list[ast.Call]]()
    for statement in statements:
        for one in statement.body if isinstance(statement, ast.ClassDef) else ():
            if isinstance(one, ast.FunctionDef):
                methods.setdefault(one.name, []).append(one)
            else:
                declared.update(_declared(one))
        for node in walk(statement):
            if isinstance(node, ast.Attribute):
                mentions[node.attr] += 1
                if _stores(node):
                    declared.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                declared.update(spelled(node.value))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                calls.setdefault(node.func.attr, []).append(node)
    return {
        f".{name}": (several[0], calls[name])
        for name, several in methods.items()
        if len(several) == 1 and not several[0].decorator_list and several[0].args.args
        if name not in declared and not name.startswith("__") and len(calls.get(name, ())) == mentions[name] > 0
        if all(_is_spelled_out(call) for call in calls[name])
    }


def _only_made(statements: Sequence[ast.stmt]) -> dict[str, tuple[ast.FunctionDef, list[ast.Call]]]:
    """As `_only_called`, by Class(): the `__init__` of classes, and where objects are made.

    Nothing derives from them, and they do not make one another by `cls` or `type`.
    """
    classes = {one.name: one for one in statements if isinstance(one, ast.ClassDef) and not one.decorator_list}
    inits = {
        name: method
        for name, cls in classes.items()
        for method in cls.body
        if isinstance(method, ast.FunctionDef) and method.name == "__init__"
        if not any(isinstance(one, ast.Name) and one.id in ("cls", "type") for one in walk(cls))
    }
    mentions, calls = Counter[str](), dict[str, list[ast.Call]]()
    for statement in statements:
        for node in walk(statement):
            if isinstance(node, ast.Name) and node.id in inits:
                mentions[node.id] += 1
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in inits:
                calls.setdefault(node.func.id, []).append(node)
    return {
        f"{name}()": (init, calls[name])
        for name, init in inits.items()
        if len(calls.get(name, ())) == mentions[name] > 0 and all(_is_spelled_out(call) for call in calls[name])
    }


def _is_spelled_out(call: ast.Call) -> bool:
    """Whether it passes nothing by a list or a mapping."""
    return not any(isinstance(one, ast.Starred) for one in call.args) and None not in {one.arg for one in call.keywords}


def _given(call: ast.Call, parameter: str, positional: Sequence[str]) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == parameter:
            return keyword.value
    place = positional.index(parameter) if parameter in positional else len(call.args)
    return call.args[place] if place < len(call.args) else None


def _take_out(function: ast.FunctionDef, calls: Iterable[ast.Call], positional: list[str], names: set[str]) -> None:
    arguments = function.args
    for call in calls:
        call.args = [one for place, one in enumerate(call.args) if positional[place] not in names]
        call.keywords = [one for one in call.keywords if one.arg not in names]
    first_default = len(arguments.args) - len(arguments.defaults)
    arguments.defaults = [
        value for place, value in enumerate(arguments.defaults, first_default) if arguments.args[place].arg not in names
    ]
    arguments.args = [one for one in arguments.args if one.arg not in names]
    kept = [
        (one, value)
        for one, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if one.arg not in names
    ]
    arguments.kwonlyargs, arguments.kw_defaults = [one for one, _value in kept], [value for _one, value in kept]


def _drop_defaults(arguments: ast.arguments, calls: Sequence[ast.Call], first_given: int) -> None:
    """Defaults of parameters that every call passes; of those passed by place no later than the last one needed."""
    positional = [one.arg for one in arguments.args[first_given:]]

    def is_given(parameter: str) -> bool:
        return all(_given(call, parameter, positional) is not None for call in calls)

    while arguments.defaults and is_given(arguments.args[-len(arguments.defaults)].arg):
        arguments.defaults.pop(0)
    arguments.kw_defaults = [
        None if is_given(one.arg) else value
        for one, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]


def fixed_results(statements: Sequence[ast.stmt], shared: Iterable[str]) -> dict[str, ast.Constant | ast.Tuple]:
    """Functions, and methods whose name no other class or library has, that only return one constant, or ().

    shared: names of methods that libraries have too.
    """
    found: dict[str, ast.Constant | ast.Tuple] = {}
    methods: dict[str, list[ast.FunctionDef]] = {}
    for statement in statements:
        if isinstance(statement, ast.FunctionDef) and not statement.decorator_list:
            if (value := _only_returns(statement)) is not None:
                found[statement.name] = value
        elif isinstance(statement, ast.ClassDef):
            for method in statement.body:
                if isinstance(method, ast.FunctionDef):
                    methods.setdefault(method.name, []).append(method)
    stored = {
        node.attr for one in statements for node in walk(one) if isinstance(node, ast.Attribute) and _stores(node)
    }
    for name, several in methods.items():
        value = _only_returns(several[0])
        is_ours = name not in shared and name not in stored and not name.startswith("__")
        if len(several) == 1 and is_ours and value is not None and not several[0].decorator_list:
            found[f".{name}"] = value
    return found


def fixed_attributes(statements: Sequence[ast.stmt], shared: Iterable[str]) -> dict[str, ast.Constant]:
    """Attributes that are given one constant and nothing else, by their own class too, and properties that return one.

    The program names them otherwise neither in a class's body nor in a string; shared: names that libraries have too.
    """
    constants: dict[str, list[ast.Constant]] = {}
    own: set[str] = set()
    stores: Counter[str] = Counter()
    declared: Counter[str] = Counter()
    strings: set[str] = set()
    for statement in statements:
        for node in walk(statement):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                for target in node.targets:
                    if isinstance(target, ast.Attribute):
                        constants.setdefault(target.attr, []).append(node.value)
            elif isinstance(node, ast.Attribute) and _stores(node):
                stores[node.attr] += 1
                if isinstance(node.value, ast.Name) and node.value.id == "self":
                    own.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.update(spelled(node.value))
            elif isinstance(node, ast.ClassDef):
                declared.update(name for one in node.body for name in _declared(one))
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and _is_property(method):
                        value = _only_returns(method)
                        if isinstance(value, ast.Constant):
                            constants.setdefault(method.name, []).append(value)
                            own.add(method.name)
    excluded = set(shared) | strings
    return {
        name: several[0]
        for name, several in constants.items()
        if name in own - excluded
        and not name.startswith("__")
        and stores[name] + declared[name] == len(several)
        and all(type(one.value) is type(several[0].value) and one.value == several[0].value for one in several)
    }


def _declared(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement of a class's body binds."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        for node in walk(statement):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                yield node.id


def _is_property(method: ast.FunctionDef) -> bool:
    return [getattr(one, "id", "") for one in method.decorator_list] in (["property"], ["cached_property"])


def _stores(node: ast.Attribute) -> bool:
    return not isinstance(node.ctx, ast.Load)


def _only_returns(function: ast.FunctionDef) -> ast.Constant | ast.Tuple | None:
    if len(function.body) != 1 or not isinstance(function.body[0], ast.Return):
        return None
    value = function.body[0].value
    is_empty = isinstance(value, ast.Tuple) and not value.elts
    return value if isinstance(value, ast.Constant) or is_empty else None  # type: ignore[return-value]

"""The settings in a script of `pgolf bundle`, read back without running anything: the other way of `settings_text`."""

import ast
import re
from typing import Any

from pydantic import ValidationError

from pgolf.bundle.script_settings import Settings
from pgolf.config import complaint
from pgolf.errors import ConfigError

_LINE = re.compile(rb"^m\.R=(.*)$", re.MULTILINE)


def settings_in(script: bytes) -> Settings | None:
    """What the script was told; None for a script that `pgolf bundle` did not write.

    What its program never reads it does not hold: that is as in a new recipe. Raises ConfigError for settings that this
    version does not know.
    """
    found = _LINE.search(script)
    if found is None:
        return None
    try:
        text = ast.literal_eval(found[1].decode("latin-1").strip())
        read = _value(ast.parse(text, mode="eval").body)
        return Settings.model_validate(read, strict=False)
    except ValidationError as error:
        raise ConfigError(f"its settings are none that this version knows ({complaint(error)})") from None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ConfigError(f"its settings cannot be read ({type(error).__name__}: {error})") from None


def _value(node: ast.expr) -> Any:
    """Calls are configs, whose fields say of which class they are."""
    match node:
        case ast.Call(args=[], keywords=keywords):
            return {str(one.arg): _value(one.value) for one in keywords}
        case ast.Tuple(elts=elements):
            return tuple(map(_value, elements))
        case _:
            return ast.literal_eval(node)

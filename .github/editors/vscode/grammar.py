"""Writes syntaxes/lines.tmLanguage.json: the colours of lines, with the layer types and functions there are."""

import json
from pathlib import Path
from typing import Any

from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import METHODS
from fwdscope.language.names import CONSTRUCTORS
from fwdscope.layers import LAYERS

HERE = Path(__file__).parent
_NAME = r"[^\W\d]\w*"


def words(names: Any) -> str:
    """A pattern of whole words."""
    return rf"\b(?:{'|'.join(sorted(names, key=lambda one: (-len(one), one)))})\b"


def grammar() -> dict[str, Any]:
    """The grammar, which VS Code injects into the plain texts of YAML files."""
    types = words([*LAYERS, *CONSTRUCTORS])
    names = rf"\(*{_NAME}(?:\s*,\s*\(?(?:{_NAME})?\)*)*"
    # A line of a spec: it has a name, calls a layer type, promises a shape or is a call. The lines of other YAML files
    # have none of these.
    line = rf"(?=(?:{names}|\d+)\s=\s|(?:\(?[\w ]+\*\s)?{types}|[^#\n]*\s->\s\(|{_NAME}\([^#\n]*\)\s*(?:#|$))"
    value = rf"(?={words(FUNCTIONS)}\(|{types}\()"
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "scopeName": "fwdscope.lines",
        "injectionSelector": "L:source.yaml -string -comment -meta.line.fwdscope",
        "patterns": [
            {
                # An item of a list, a line that continues one, or the value of a key.
                "begin": rf"(?<=- ){line}|(?<=    )(?=[^\s:#-][^:#]*$){line}|(?<=: ){value}",
                "end": r"(?=\s+#)|$",
                "name": "meta.line.fwdscope",
                "patterns": [{"include": "#expression"}],
            }
        ],
        "repository": {
            "expression": {
                "patterns": [
                    {
                        "begin": r"\s*(->)",
                        "end": r"(?=\s+#)|$",
                        "beginCaptures": {"1": {"name": "keyword.operator.promise.fwdscope"}},
                        "name": "meta.promise.fwdscope",
                        "patterns": [{"match": r"[^#]+?(?=\s+#|$)", "name": "comment.promise.fwdscope"}],
                    },
                    {"match": r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", "name": "string.quoted.fwdscope"},
                    {"match": rf"{_NAME}(?=\s*=(?!=))(?<=[(,]\s*\w+)", "name": "variable.parameter.fwdscope"},
                    {"match": words(["prev"]), "name": "variable.language.fwdscope"},
                    {
                        "match": words(["True", "False", "None", "true", "false", "null", "inf", "nan"]),
                        "name": "constant.language.fwdscope",
                    },
                    {
                        "match": words(["and", "or", "not", "in", "is", "if", "else", "for"]),
                        "name": "keyword.control.fwdscope",
                    },
                    {
                        "match": r"\b(?:\d[\d_]*\.?[\d_]*(?:[eE][-+]?\d+)?)\b|\.\d+\b",
                        "name": "constant.numeric.fwdscope",
                    },
                    {"match": types, "name": "support.class.layer.fwdscope"},
                    {"match": r"(?<![\w.])[A-Z]\w*(?=\s*\()|(?<=\*\s)[A-Z]\w*", "name": "entity.name.type.fwdscope"},
                    {"match": rf"(?<!\.){words(FUNCTIONS)}(?=\()", "name": "support.function.fwdscope"},
                    {"match": rf"(?<=\.){words(METHODS)}(?=\()", "name": "support.function.method.fwdscope"},
                    {"match": rf"\b{_NAME}(?=\()", "name": "entity.name.function.fwdscope"},
                    {"match": rf"\b{_NAME}\b(?=[\w\s,()]*\s=\s)", "name": "variable.other.definition.fwdscope"},
                    {"match": rf"\b{_NAME}\b", "name": "variable.other.fwdscope"},
                    {"match": r"\*\*|//|[=!<>]=|[-+*/%@&|~<>=]", "name": "keyword.operator.fwdscope"},
                    {"match": r"[()\[\]]", "name": "punctuation.bracket.fwdscope"},
                    {"match": r"[,.:]", "name": "punctuation.separator.fwdscope"},
                ]
            }
        },
    }


def text() -> str:
    """The file's text. Oniguruma, which reads it, takes \\w for letters beyond ASCII too."""
    return json.dumps(grammar(), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    (HERE / "syntaxes/lines.tmLanguage.json").write_text(text())

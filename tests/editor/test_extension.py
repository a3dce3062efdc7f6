"""The extension for VS Code: its grammar knows all layer types, its package names what there is."""

from __future__ import annotations

import json
import re
import runpy

from paths import ROOT

from fwdscope.layers import LAYERS

HOME = ROOT / ".github/editors/vscode"


def test_the_grammar_is_the_one_of_the_tables() -> None:
    # Python's name for it is not __main__, so that nothing is written.
    wanted = runpy.run_path(str(HOME / "grammar.py"))["text"]()
    assert (HOME / "syntaxes/lines.tmLanguage.json").read_text() == wanted, "run grammar.py"
    patterns = json.loads(wanted)["repository"]["expression"]["patterns"]
    (types,) = (one["match"] for one in patterns if one.get("name") == "support.class.layer.fwdscope")
    assert all(re.fullmatch(types, name) for name in LAYERS)


def test_the_package_names_files_commands_and_settings_that_there_are() -> None:
    package = json.loads((HOME / "package.json").read_text())
    for grammar in package["contributes"]["grammars"]:
        assert json.loads((HOME / grammar["path"]).read_text())["scopeName"] == grammar["scopeName"]
    client = (HOME / "extension.js").read_text()
    for command in package["contributes"]["commands"]:
        assert f'registerCommand("{command["command"]}"' in client
    # The commands of the server that the client sends.
    server = (ROOT / "fwdscope/editor/requests.py").read_text()
    for command in re.findall(r'run\("(fwdscope\.\w+)"\)', client):
        assert f'"{command}"' in server
    settings = package["contributes"]["configuration"]["properties"]
    assert settings["fwdscope.hints"]["items"]["enum"] == ["shapes", "params", "macs"]

"""What an editor asks of a spec while it is written, from its text alone: no torch, no protocol.

Each is a function of a :class:`Document`, which reads its text once, and works while the text does not parse.
"""

from __future__ import annotations

from fwdscope.editor.calls import CallSignature, SignatureHelp, signature_help
from fwdscope.editor.completion import Completion, completion_page, completions
from fwdscope.editor.document import Document, TextEdit, TextPosition, TextRange, format_edits
from fwdscope.editor.hover import HoverText, hover
from fwdscope.editor.names import definition, prepare_rename, references, rename
from fwdscope.editor.outline import OutlineItem, folding, outline

__all__ = [
    "CallSignature",
    "Completion",
    "Document",
    "HoverText",
    "OutlineItem",
    "SignatureHelp",
    "TextEdit",
    "TextPosition",
    "TextRange",
    "completion_page",
    "completions",
    "definition",
    "folding",
    "format_edits",
    "hover",
    "outline",
    "prepare_rename",
    "references",
    "rename",
    "signature_help",
]

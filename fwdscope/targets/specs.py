"""Finds spec files, by path or by the name of a spec that ships with fwdscope."""

from __future__ import annotations

from pathlib import Path

from fwdscope.language.names import did_you_mean, likely


def find_spec(target: str) -> Path | None:
    """The file of a spec, given by its path or the name of one that ships; None if there is neither."""
    path = Path(target)
    if path.is_file():
        return path
    return shipped_specs().get(target.removesuffix(".yaml"))


def shipped_specs() -> dict[str, Path]:
    """The specs that ship with fwdscope, by name."""
    package = Path(__file__).parents[1]
    # In a wheel they are inside the package, in a checkout next to it.
    folder = package / "specs" if (package / "specs").is_dir() else package.parent / "specs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def explain_missing_spec(target: str) -> str:
    """The message for a target that :func:`find_spec` does not find."""
    if not target.strip():
        return "the target is empty: give a spec file or the name of a spec that ships"
    path = Path(target)
    if path.exists() and not path.is_dir():
        return f"{target} is no regular file: to read what a program writes, pipe it into -"
    if path.is_dir():
        return f"{target} is a folder; name one spec in it, as in {target.rstrip('/')}/NAME.yaml"
    if path.suffix in (".yaml", ".yml") and not likely(path.stem, shipped_specs()):
        siblings = [str(file) for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        near = likely(target, siblings)
        help = f"did you mean {near[0]}?" if near else "give the path of a spec, or a name that `fwdscope specs` lists"
        return f"there is no file {target}; {help}"
    help = did_you_mean(path.stem, shipped_specs(), "specs that ship with fwdscope:")
    return f"there is no file {target}, and no spec of that name; {help}"

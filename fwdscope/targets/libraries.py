"""``transformers:llama``, ``timm:resnet50``, ``torchvision:resnet50``, ``diffusers:FOLDER``: models of libraries.

A model is built with random weights from its name or configuration, and its inputs are made from what the library
knows (:mod:`fwdscope.targets.examples`). Nothing is downloaded, and no code of a checkpoint runs.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fwdscope import disk
from fwdscope.errors import InputError, TargetError, error_text, import_failure
from fwdscope.language.names import did_you_mean, nearest
from fwdscope.targets.examples import Examples, Sizes, describe_inputs, diffusion, image, language_model, make_inputs
from fwdscope.targets.feeds import Feed
from fwdscope.targets.module import Build, Call, LoadedModel, build, fed_values

# What makes a module, and its examples given the module and the sizes.
_Recipe = tuple[Callable[[], nn.Module], Callable[[nn.Module, Sizes], Iterator[Examples]]]


def load_from_library(text: str, feeds: Mapping[str, Feed], sizes: Sizes, how: Build) -> LoadedModel:
    """The model of ``library:name`` and what it may be called on. Raises TargetError."""
    library, _, name = text.partition(":")
    if not name:
        raise TargetError(f"{text}: write {library}:NAME")
    if importlib.util.find_spec(library) is None:
        raise TargetError(f"{text} needs {library}, which is not installed: pip install {library}")
    with contextlib.redirect_stdout(sys.stderr):
        try:
            make, examples = _RECIPES[library](importlib.import_module(library), text, name, how.arguments)
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # whatever its code raises
            raise TargetError(f"{text}: {import_failure(error) or error_text(error)}") from error
        module = build(text, make, how).eval()
        places = {tensor.is_meta for tensor in (*module.parameters(), *module.buffers())}
        if len(places) > 1 and not how.with_numbers:
            module.to("meta")
    fed = fed_values(text, module, feeds, how.with_numbers, integers=True)

    def calls() -> Iterator[Call]:
        for found in examples(module, sizes):
            sizes.check(text)
            made = {key: one for key, one in found.items() if key not in fed}
            yield (), {**make_inputs(made, how.with_numbers), **fed}, describe_inputs(made)

    is_on_cpu = places == {False} and not how.with_numbers
    return LoadedModel(module, calls, ("built on the CPU, since its constructor needs values",) * is_on_cpu)


def _unknown(text: str, name: str, names: list[str]) -> TargetError:
    return TargetError(f"{text}: {text.partition(':')[0]} has no {name}; {did_you_mean(name, names, 'it has')}")


def _with_signature(text: str, function: Any, make: Callable[[], nn.Module]) -> nn.Module:
    """The result of ``make``; arguments that do not fit are said with the signature of the function that takes them."""
    try:
        return make()
    except TypeError as error:
        if "argument" not in str(error):
            raise
        names = [f"{p}" for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
        shown = ", ".join(name.partition(":")[0] + name[name.find(" = ") :] * (" = " in name) for name in names)
        raise TargetError(f"{text}: {error}; it is {function.__name__}({shown})") from None


# --- timm and torchvision -----------------------------------------------------------------------------------------


def _timm(package: Any, text: str, name: str, arguments: Mapping[str, Any]) -> _Recipe:
    stem, _, tag = name.partition(".")
    if ":" in name or "/" in name:
        raise TargetError(f"{text} would be downloaded: give one of timm's own names, as timm:resnet50")
    if not package.is_model(stem):
        raise _unknown(text, stem, package.list_models())
    if tag and name not in (tagged := package.list_pretrained(f"{stem}.*")):
        raise _unknown(text, name, tagged)

    def examples(module: Any, sizes: Sizes) -> Iterator[Examples]:
        shape = list(module.pretrained_cfg["input_size"])
        side = arguments.get("img_size", shape[1:])
        shape = [arguments.get("in_chans", shape[0]), *(side if isinstance(side, list | tuple) else [side, side])]
        yield image(module, sizes, shape)

    function = package.model_entrypoint(stem)
    return lambda: _with_signature(text, function, lambda: package.create_model(name, **arguments)), examples


def _torchvision(package: Any, text: str, name: str, arguments: Mapping[str, Any]) -> _Recipe:
    models = importlib.import_module("torchvision.models")
    if name not in models.list_models():
        raise _unknown(text, name, models.list_models())
    function = models.get_model_builder(name)
    none = {"weights_backbone": None} if "weights_backbone" in inspect.signature(function).parameters else {}
    given = {"weights": None, **none, **arguments}
    if given["weights"] or given.get("weights_backbone"):
        raise TargetError(f"{text}: weights would be downloaded; a run takes them from a file: --weights FILE")

    def examples(module: Any, sizes: Sizes) -> Iterator[Examples]:
        kind = function.__module__
        if ".detection" in kind:
            yield image(module, sizes, [3, *([300, 300] if "ssd300" in name else [320, 320])], as_list=True)
            return
        transforms = models.get_model_weights(name).DEFAULT.transforms()
        side = getattr(module, "image_size", None) or getattr(transforms, "crop_size", None) or 224
        sides = [side, side] if isinstance(side, int) else list(side)
        shape = [3, sides[0], sides[-1]]
        if ".video" in kind:
            shape.insert(1, sizes("F", 16))
        if ".optical_flow" in kind:
            shape = [3, 128, 128]
        yield image(module, sizes, shape, count=2 if ".optical_flow" in kind else 1)

    return lambda: _with_signature(text, function, lambda: function(**given)), examples


# --- transformers and diffusers -----------------------------------------------------------------------------------


def _transformers(package: Any, text: str, name: str, arguments: Mapping[str, Any]) -> _Recipe:
    auto = importlib.import_module("transformers.models.auto.configuration_auto")
    arguments = dict(arguments)
    wanted = arguments.pop("class", None)
    written = _read_configuration(text, name)
    kind = name if written is None else written.get("model_type")
    found = None
    if written is None and name not in auto.CONFIG_MAPPING and (found := getattr(package, name, None)) is not None:
        wanted, config_class = name, getattr(found, "config_class", None)
        if config_class is None:
            raise TargetError(f"{text} is no model of transformers with a configuration")
    elif kind in auto.CONFIG_MAPPING:
        config_class = auto.CONFIG_MAPPING[kind]
    elif written is None:
        raise _unknown(text, name, list(auto.CONFIG_MAPPING))
    elif "auto_map" in written:
        raise TargetError(
            f"{text} needs code of its checkpoint (auto_map), which is not run: name it as package.module:name"
        )
    else:
        raise _unknown(text, str(kind or "model without a model_type"), list(auto.CONFIG_MAPPING))
    config = _configuration(text, config_class, written, arguments)
    wanted = wanted or next(iter(config.architectures or ()), None) if written is not None else wanted
    model_class = found or _model_class(text, package, config, wanted)

    return lambda: model_class._from_config(config), language_model


def _read_configuration(text: str, name: str) -> dict[str, Any] | None:
    """The JSON of a folder or file; None for a name."""
    path = Path(name) / "config.json" if Path(name).is_dir() else Path(name)
    if not path.is_file():
        if path.suffix == ".json" or "/" in name:
            raise TargetError(f"{text}: there is no file {path}; nothing is downloaded")
        return None
    try:
        written = json.loads(disk.read_text(path))
    except (OSError, ValueError) as error:
        raise TargetError(f"{path} cannot be read: {error}") from None
    if not isinstance(written, dict):
        raise TargetError(f"{path} is no configuration: it is a {type(written).__name__}")
    written.pop("quantization_config", None)
    return written


def _configuration(text: str, kind: Any, written: dict[str, Any] | None, arguments: dict[str, Any]) -> Any:
    """A configuration with these settings; ``text_config.hidden_size`` is one of a configuration inside."""
    try:
        default = kind() if written is None else kind.from_dict(dict(written))
    except Exception as error:
        if not arguments:
            raise TargetError(f"{text}: {kind.__name__} cannot be made: {error_text(error)}") from error
        default = None  # it may need the arguments
    settings = dict(written or {})
    for path, value in arguments.items():
        at, home = default, settings
        *above, name = path.split(".")
        for step in above:
            at = getattr(at, step, None)
            inner = home.get(step) or {"model_type": getattr(at, "model_type", "")}
            home[step] = home = dict(inner)
        known = {
            *getattr(at, "attribute_map", ()),
            *(vars(at) if at is not None else ()),
            "attn_implementation",
            "experts_implementation",
            "dtype",
        }
        known |= {*inspect.signature(type(at) if at is not None else kind).parameters}
        if name not in known:
            meant = nearest(name, known)
            help = f"did you mean {meant}?" if meant else "see its signature in transformers"
            raise TargetError(f"{text}: {type(at).__name__} has no setting {name}; {help}")
        old = home.get(name)
        home[name] = value
        for key, each in list(home.items()):  # lists with an entry a layer
            if name.endswith("layers") and isinstance(each, list) and isinstance(value, int) and len(each) == old:
                home[key] = each[:value] if value <= old else None
    try:
        return kind.from_dict(settings) if settings else default
    except Exception as error:
        raise TargetError(f"{text}: {kind.__name__} cannot be made: {' '.join(error_text(error).split())}") from error


def _model_class(text: str, package: Any, config: Any, wanted: str | None) -> Any:
    """The class of that name, else the plain model of a configuration, or where there is none the first with a head."""
    place = type(config).__module__.replace("configuration_", "modeling_")
    try:
        written: Any = importlib.import_module(place)
    except ModuleNotFoundError:
        written = package
    if wanted is not None:
        found = getattr(written, wanted, None) or getattr(package, wanted, None)
        if found is None or not hasattr(found, "_from_config"):
            names = [key for key, value in vars(written).items() if hasattr(value, "_from_config")]
            raise _unknown(text, f"{wanted}", names)
        return found
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    heads = [key for key in vars(auto) if key.startswith("MODEL_FOR_") and key.endswith("_MAPPING")]
    for mapping in (vars(auto)[key] for key in ("MODEL_MAPPING", *heads)):
        if type(config) in mapping:
            found = mapping[type(config)]
            return found[0] if isinstance(found, tuple) else found
    for key, value in vars(written).items():
        if getattr(value, "config_class", None) is type(config) and not key.endswith("PreTrainedModel"):
            return value
    raise TargetError(f"{text}: transformers has no model of its own for {type(config).__name__}")


def _diffusers(package: Any, text: str, name: str, arguments: Mapping[str, Any]) -> _Recipe:
    if (Path(name) / "model_index.json").is_file():
        parts = [path.parent for path in sorted(Path(name).glob("*/config.json"))]
        raise TargetError(f"{text} is a pipeline; name one of its models: {', '.join(f'diffusers:{p}' for p in parts)}")
    written = _read_configuration(text, name)
    if written is None:
        raise TargetError(f"{text}: there is no folder {name}; nothing is downloaded")
    kind = written.get("_class_name")
    found = getattr(package, str(kind), None)
    if found is None or not hasattr(found, "from_config"):
        raise TargetError(f"{text}: diffusers has no model {kind}")
    known = inspect.signature(found.__init__).parameters
    for key in arguments:
        if key not in known:
            raise TargetError(f"{text}: {kind} has no setting {key}; {did_you_mean(key, known, 'it has')}")
    return lambda: found.from_config({**written, **arguments}), diffusion


_RECIPES: Mapping[str, Callable[[Any, str, str, Mapping[str, Any]], _Recipe]] = {
    "transformers": _transformers, "timm": _timm, "torchvision": _torchvision, "diffusers": _diffusers,
}  # fmt: skip

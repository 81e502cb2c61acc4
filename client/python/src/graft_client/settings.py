"""A job's spec from flat settings: `rank=8, learning_rate=1e-3`. Which there are, the API's own messages say."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor, json_format
from google.protobuf.message import Message

from graft_client.v1 import spec_pb2

# Of two settings of the same name the one that comes first here is meant; "generation__seed" means the other one.
_TRAINING_PLACES = ("", "training", "data", "evaluation", "training.early_stopping", "training.checkpoint", "evaluation.generation")
_EVALUATE_PLACES = ("", "data", "evaluation", "evaluation.generation")


def methods_of(method: str | dict | Message) -> spec_pb2.Method:
    """"lora", "lora+soft_prompt", "dora"; {"lora": {"rank": 4}}; or a Method."""
    if isinstance(method, spec_pb2.Method):
        return method
    if isinstance(method, dict):
        return json_format.ParseDict(method, spec_pb2.Method())
    parts = spec_pb2.Method()
    known = [field.name for field in parts.DESCRIPTOR.fields]
    for name in str(method).replace("-", "_").split("+"):
        if name == "dora":
            parts.lora.use_dora = True
        elif name in known:
            getattr(parts, name).SetInParent()
        else:
            raise ValueError(f"method: {name!r} is none; there are {', '.join([*known, 'dora'])}, and mixtures like lora+soft_prompt")
    return parts


def fill_fine_tune(spec: spec_pb2.FineTuneSpec, settings: dict[str, Any]) -> None:
    parts = [f"method.{field.name}" for field, _ in spec.method.ListFields()]
    _fill(spec, settings, [*_TRAINING_PLACES, *parts])


def fill_evaluate(spec: spec_pb2.EvaluateSpec, settings: dict[str, Any]) -> None:
    _fill(spec, settings, list(_EVALUATE_PLACES))


def fill_generation(options: spec_pb2.GenerationOptions, settings: dict[str, Any]) -> None:
    _fill(options, settings, [""])


def _fill(spec: Message, settings: dict[str, Any], places: list[str]) -> None:
    for name, value in settings.items():
        if value is not None:
            message, field = _find(spec, name, places)
            _set(message, field, value)


def _at(spec: Message, place: str) -> Message:
    for name in filter(None, place.split(".")):
        spec = getattr(spec, name)
    return spec


def _find(spec: Message, name: str, places: list[str]) -> tuple[Message, descriptor.FieldDescriptor]:
    *path, last = name.split("__")
    for place in places:
        message = _at(spec, place)
        if path and place.split(".")[-1] != path[-1]:
            continue
        field = message.DESCRIPTOR.fields_by_name.get(last)
        if field is not None:
            return message, field
    close = difflib.get_close_matches(name, sorted(set(_names(spec, places))), n=3)
    raise TypeError(f"there is no setting {name!r}" + (f"; did you mean {', '.join(close)}?" if close else ""))


def _names(spec: Message, places: list[str]) -> Iterator[str]:
    for place in places:
        yield from _at(spec, place).DESCRIPTOR.fields_by_name


def _set(message: Message, field: descriptor.FieldDescriptor, value: Any) -> None:
    """As protobuf's JSON has it, and the names of values as the command line writes them: "bf16", "random"."""
    if field.enum_type is not None:
        value = _enum_value(field, value)
    elif isinstance(value, Message):
        getattr(message, field.name).CopyFrom(value)
        return
    elif isinstance(value, (set, tuple, range)):
        value = list(value)
    try:
        parsed = json_format.ParseDict({field.name: value}, type(message)())
    except json_format.ParseError as error:
        raise TypeError(f"{field.name}: {error}") from None
    message.ClearField(field.name)
    message.MergeFrom(parsed)


def _enum_value(field: descriptor.FieldDescriptor, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    names = [one.name for one in field.enum_type.values]
    wanted = value.upper().replace("-", "_")
    for name in names:
        if name == wanted or name.endswith(f"_{wanted}"):
            return name
    prefix = names[0].removesuffix("UNSPECIFIED")
    raise ValueError(f"{field.name}: {value!r} is none; there are {', '.join(name.removeprefix(prefix).lower() for name in names[1:])}")

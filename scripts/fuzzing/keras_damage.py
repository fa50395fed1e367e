"""Damaged and hostile Keras files: configs, HDF5 oddities, archives, payloads that would run."""

from __future__ import annotations

import base64
import copy
import io
import json
import marshal
import os
import random
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from fuzzing.bytewise import damaged
from fuzzing.case import CANARY, SECRET, Case
from fuzzing.keras_seeds import LAYOUTS, Config, Layout, make

ABSURD: tuple[Any, ...] = (
    None, True, -1, 0, 7, 2**31, 2**40, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x",
    "elu", "../../x", "a\nb", "\x00", "x" * 5000, [], {}, [None], [-1, 2**40], [[[[]]]],
    {"class_name": "Dense", "config": {}}, {"class_name": "NoSuch", "config": None},
)  # fmt: skip
_NAME = {True: "m.keras", False: "m.h5"}


def _layout(rng: random.Random) -> Layout:
    return rng.choice(LAYOUTS)


def _case(label: str, layout: Layout, data: bytes, **more: Any) -> Case:
    return Case(f"{layout.name}: {label}", _NAME[layout.archive], data, **more)


def broken_bytes(rng: random.Random) -> Case:
    """A file whose bytes are damaged."""
    layout = _layout(rng)
    compression = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    label, data = damaged(make(layout, compression=compression), rng)
    return _case(label, layout, data)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in nested dicts and lists."""
    found: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        current = stack.pop()
        keys = current.keys() if isinstance(current, dict) else range(len(current))
        for key in keys:
            found.append((current, key))
            if isinstance(current[key], (dict, list)):
                stack.append(current[key])
    return found


def odd_config(rng: random.Random) -> Case:
    """A config with absurd, missing or doubled entries."""
    layout = _layout(rng)
    done = []

    def edit(config: Config) -> None:
        for _ in range(rng.choice((1, 1, 2, 4))):
            places = _places(config)
            if not places:
                return
            place, key = rng.choice(places)
            what = rng.randrange(4)
            done.append(f"{key}/{what}")
            if what == 0:
                del place[key]
            elif what == 1 and isinstance(place, list):
                place.insert(rng.randrange(len(place) + 1), copy.deepcopy(place[key]))
            elif what == 2 and isinstance(place, dict):
                # A copy: what holds itself cannot be written.
                other = rng.choice(("axis", "name", "layers", "config", "class_name"))
                place[other] = copy.deepcopy(place[key])
            else:
                place[key] = copy.deepcopy(rng.choice(ABSURD))

    return _case(f"config {'+'.join(done)}", layout, make(layout, edit))


_NESTED = (
    ("[" * 100_000, "brackets"),
    ('{"a":' * 100_000, "braces"),
    ('{"class_name": "Sequential", "config": {"layers": [' * 3000, "models cut off"),
    (
        '{"class_name": "Sequential", "config": {"layers": [' * 900 + "]}}" * 900,
        "models in models",
    ),
    ('{"class_name": "Sequential", "config": ' + "9" * 100_000 + "}", "a long number"),
    ('{"class_name": "Sequential", "config": {"name": "\\ud800", "layers": []}}', "a surrogate"),
    ("null", "null"),
    ("[]", "a list"),
    ("", "nothing"),
    ("\ufeff{}", "a byte order mark"),
    ('{"class_name": "Sequential"}', "no config"),
)


def odd_text(rng: random.Random) -> Case:
    """A config that is hardly JSON, or nested without end."""
    layout = _layout(rng)
    text, label = rng.choice(_NESTED)
    return _case(f"config of {label}", layout, make(layout, config_text=text))


def _payload() -> str:
    code = compile(f"__import__('os').mkdir({CANARY!r})", "<payload>", "eval")
    return base64.b64encode(marshal.dumps(code)).decode()


def _hostile_layers() -> list[Config]:
    """Layers that run code in one loader or another."""
    raw = [_payload(), None, None]
    mkdir = {"class_name": "function", "config": "mkdir", "module": "os", "registered_name": None}
    lambda_3 = {"class_name": "__lambda__", "config": {"value": _payload()}}
    layers = [
        ("Lambda", {"function": raw, "function_type": "lambda", "module": "__main__"}, ""),
        ("Lambda", {"function": lambda_3, "arguments": {}}, "keras.layers"),
        ("Lambda", {"function": mkdir, "arguments": {"path": CANARY}}, "keras.layers"),
        ("Dense", {"units": 2, "activation": lambda_3}, "keras.layers"),
        ("Dense", {"units": 2, "activation": mkdir}, "keras.layers"),
        ("Dense", {"units": 2, "kernel_initializer": mkdir}, "keras.layers"),
        ("Activation", {"activation": {**mkdir, "config": "system"}}, "keras.layers"),
        ("TFOpLambda", {"function": "io.gfile.mkdir"}, ""),
        ("TFOpLambda", {"function": "py_function"}, ""),
        ("ClassMethod", {"cls_symbol": "io.gfile"}, ""),
        ("TFSMLayer", {"filepath": "{outside}"}, "keras.layers"),
        ("mkdir", {"name": CANARY}, "os"),
        ("Popen", {"args": ["mkdir", CANARY]}, "subprocess"),
        ("antigravity", {}, "antigravity"),
        ("TimeDistributed", {"layer": {"class_name": "Lambda", "config": {"function": raw}}}, ""),
    ]
    return [
        {
            "class_name": name,
            "config": {"name": "hostile", **config},
            "module": module,
            "registered_name": None,
        }
        for name, config, module in layers
    ]


def payload(rng: random.Random) -> Case:
    """A layer that makes a folder when its file is loaded carelessly."""
    layout = _layout(rng)
    layer = rng.choice(_hostile_layers())

    def edit(config: Config) -> Config | None:
        layers = config["config"]["layers"]
        layers.insert(rng.randrange(1, len(layers) + 1), layer)
        if rng.random() < 0.2:
            config["compile_config"] = {"loss": layer, "optimizer": layer}
        return None

    return _case(f"payload in {layer['class_name']}", layout, make(layout, edit))


def _any_dataset(file: h5py.File, rng: random.Random) -> tuple[h5py.Group, str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if hasattr(item, "dtype") else None)
    path = rng.choice(found)
    parent, _, name = path.rpartition("/")
    group = file[parent]
    return group, name


def _huge(group: h5py.Group, name: str, rng: random.Random) -> None:
    size = rng.choice((2**31, 2**40, 2**62))
    group.create_dataset(name, (size,), "f4", chunks=(2**16,), fillvalue=1)


def _bomb(group: h5py.Group, name: str, rng: random.Random) -> None:
    data = np.zeros(2**24, np.float32)
    group.create_dataset(name, data=data, chunks=(2**20,), compression="gzip")


def _outside(group: h5py.Group, name: str, rng: random.Random) -> None:
    group[name] = h5py.ExternalLink("../outside/secret.h5", "/w")


def _raw_outside(group: h5py.Group, name: str, rng: random.Random) -> None:
    group.create_dataset(name, (64,), "f4", external=[("../outside/secret", 0, 256)])


def _virtual(group: h5py.Group, name: str, rng: random.Random) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("../outside/secret.h5", "w", (3,))
    group.create_virtual_dataset(name, layout)


def _soft(group: h5py.Group, name: str, rng: random.Random) -> None:
    group[name] = h5py.SoftLink(rng.choice(("/", f"{group.name}/{name}", "/nowhere", "..")))


def _strange(group: h5py.Group, name: str, rng: random.Random) -> None:
    kinds = (
        "S9",
        "V8",
        "c8",
        "M8[s]",
        "f2",
        "u8",
        "i1",
        [("a", "f4")],
        h5py.string_dtype(),
        h5py.vlen_dtype("f4"),
        h5py.ref_dtype,
        h5py.enum_dtype({"a": 1}),
    )
    kind = rng.choice(kinds)
    if kind == "M8[s]":
        kind = h5py.opaque_dtype(np.dtype(kind))
    group.create_dataset(name, rng.choice(((), (3,), (4, 3), (0,), (1,) * 30)), kind)


def _group(group: h5py.Group, name: str, rng: random.Random) -> None:
    group.create_group(name)


def _cycle(group: h5py.Group, name: str, rng: random.Random) -> None:
    group[name] = group  # a hard link: the group holds itself


def _gone(group: h5py.Group, name: str, rng: random.Random) -> None:
    return None


def _misshapen(group: h5py.Group, name: str, rng: random.Random) -> None:
    shape = rng.choice(((), (0,), (1,), (5,), (3, 4), (4, 3, 1), (1000, 1000)))
    group.create_dataset(name, shape, rng.choice(("f4", "f8", "f2")), fillvalue=np.nan)


_STAND_INS: tuple[Callable[[h5py.Group, str, random.Random], None], ...] = (
    _huge, _bomb, _outside, _raw_outside, _virtual, _soft, _strange, _group, _cycle, _gone,
    _misshapen,
)  # fmt: skip


def odd_hdf5(rng: random.Random) -> Case:
    """A weight is huge, a bomb, a link out, a cycle, of a strange type, or gone."""
    layout = _layout(rng)
    done = []

    def edit(file: h5py.File) -> None:
        group, name = _any_dataset(file, rng)
        stand_in = rng.choice(_STAND_INS)
        done.append(stand_in.__name__)
        del group[name]
        try:
            stand_in(group, name, rng)
        except (OSError, ValueError, TypeError, RuntimeError, KeyError):
            done.append("(undone)")  # HDF5 itself does not take it

    data = make(layout, edit_weights=edit)
    label = f"weight {'+'.join(done)}"
    return _case(label, layout, data, beside={"other.h5": b""}, links={"up": "{outside}"})


def odd_attributes(rng: random.Random) -> Case:
    """The attributes that lead to the weights are absurd."""
    layout = LAYOUTS[rng.choice((2, 3))]
    stand_in = rng.choice(
        (
            np.zeros((3, 3)), np.array([], "S1"), np.array([b"../../outside"] * 9), b"dense_0", 7,
            np.array([b"bn"] * 5000), np.array([b"", b"/", b".", b"bn/../.."]), "\u202e", b"\xff",
            h5py.Empty("f4"),
        )
    )  # fmt: skip

    def edit(file: h5py.File) -> None:
        places = [file, file["model_weights"], *file["model_weights"].values()]
        place = rng.choice([each for each in places if len(each.attrs)])
        name = rng.choice(list(place.attrs))
        del place.attrs[name]
        if rng.random() < 0.9:
            place.attrs[name] = stand_in

    return _case("attributes", layout, make(layout, edit_weights=edit))


def odd_archive(rng: random.Random) -> Case:
    """Zip bombs, members outside, lies about sizes, thousands of members."""
    layout = LAYOUTS[rng.choice((0, 1))]
    what = rng.randrange(7)
    if what == 0:
        data = _with_member(make(layout), "config.json", bytes(2**27))
    elif what == 1:
        data = _with_member(make(layout), "model.weights.h5", bytes(2**27))
    elif what == 2:
        names = ("../../outside/planted", "/tmp/planted", "C:\\planted", "a/../../planted")
        data = make(layout, extra=dict.fromkeys(names, SECRET))
    elif what == 3:
        data = make(layout, extra={f"assets/{number}": b"" for number in range(5000)})
    elif what == 4:
        data = _lie_about_size(make(layout), rng)
    elif what == 5:
        data = _with_member(make(layout), "metadata.json", b'{"keras_version": ' + b"[" * 2**20)
    else:
        inner = make(layout)
        data = make(layout, extra={"model.weights.h5": inner, "config.json": inner})
    return _case(f"archive {what}", layout, data)


def _with_member(data: bytes, name: str, content: bytes) -> bytes:
    """Replace a member by content that compresses well."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            new.writestr(info.filename, content if info.filename == name else old.read(info))
    return buffer.getvalue()


def _lie_about_size(data: bytes, rng: random.Random) -> bytes:
    """Change a field of the table of contents: sizes, flags, method, offset."""
    start = data.rfind(b"PK\x01\x02")
    content = bytearray(data)
    place = start + rng.choice((8, 10, 16, 20, 24, 28, 42))
    content[place : place + 2] = rng.choice((b"\xff\xff", b"\x01\x00", b"\x63\x00", b"\x00\x00"))
    return bytes(content)


def plain_junk(rng: random.Random) -> Case:
    """Files that are nothing, under the names of models."""
    names = ("m.onnx", "m.keras", "m.h5", "m", "a\nb.onnx", os.fsdecode(b"\xff.h5"))
    content = rng.choice(
        (
            b"",
            rng.randbytes(rng.choice((1, 7, 100, 10_000))),
            bytes(rng.choice((1, 8, 5000))),
            b"\x08" * 300,
            b"\x89HDF\r\n\x1a\n" + rng.randbytes(200),
            b"PK\x03\x04" + rng.randbytes(200),
            b"PK\x05\x06" + bytes(18),
            b"\x08\x08:\xff\xff\xff\xff\x0f" + bytes(50),
            b"\x80\x03cos\nmkdir\nX\x08\x00\x00\x00executed\x85R.",
            json.dumps({"class_name": "Sequential"}).encode(),
        )
    )
    return Case(f"junk {content[:8]!r}", rng.choice(names), content)

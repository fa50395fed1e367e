"""Steps: recurrent layers, masks, attention."""

from __future__ import annotations

from typing import Any

from .net import NetBuilder

_CELLS = ("LSTM", "GRU", "SimpleRNN")


def _options(b: NetBuilder, kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {"return_sequences": b.chance(60), "use_bias": b.chance(85)}
    if kind == "GRU" and b.chance(30):
        options["reset_after"] = False
    if b.chance(15):
        options["activation"] = b.pick(("relu", "sigmoid", "softsign", "elu"))
    if kind != "SimpleRNN" and b.chance(10):
        options["recurrent_activation"] = "hard_sigmoid"
    return options


def recurrent(b: NetBuilder, x: Any) -> Any:
    """LSTM, GRU, SimpleRNN, backwards now and then, or with its states."""
    if len(x.shape) != 3:
        return None
    kind = b.pick(_CELLS)
    options = _options(b, kind)
    if b.chance(15):
        options["go_backwards"] = True
    if b.chance(10) and not b.chain_only:
        results = b.on(x, kind, b.size(), return_state=True, **options)
        b.values.extend(results[1:])
        return results[0]
    return b.on(x, kind, b.size(), **options)


def continued(b: NetBuilder, x: Any) -> Any:
    """A recurrent layer that starts from the states of another."""
    if len(x.shape) != 3:
        return None
    kind, units = b.pick(_CELLS), b.size()
    _, *states = b.on(x, kind, units, return_state=True)
    (other,) = b.partners(x, 1)
    layer = b.layer(kind, units, return_sequences=b.chance(60))
    return b.call(layer, other, initial_state=states)


def bidirectional(b: NetBuilder, x: Any) -> Any:
    """Bidirectional of any merge mode."""
    if len(x.shape) != 3:
        return None
    kind = b.pick(_CELLS)
    inner = b.layer(kind, b.size(), **_options(b, kind))
    modes = ("concat", "concat", "sum", "mul", "ave", *(() if b.chain_only else (None,)))
    y = b.call(b.layer("Bidirectional", inner, merge_mode=b.pick(modes)), x)
    if isinstance(y, (list, tuple)):
        b.values.append(y[1])
        return y[0]
    return y


def masking(b: NetBuilder, x: Any) -> Any:
    """Masking of steps that are zero."""
    if len(x.shape) != 3:
        return None
    b.marks.add("masked")
    return b.on(x, "Masking", 0.0)


def multi_head(b: NetBuilder, x: Any) -> Any:
    """MultiHeadAttention to itself or to another value."""
    if len(x.shape) not in (3, 4):
        return None
    b.marks.add("attention")
    options: dict[str, Any] = {"use_bias": b.chance(70)}
    if b.chance(30):
        options["value_dim"] = b.size()
    if b.chance(20):
        options["output_shape"] = b.size()
    if len(x.shape) == 4 and b.chance(50):
        options["attention_axes"] = b.pick(((1,), (2,), (1, 2)))
    layer = b.layer("MultiHeadAttention", b.pick((1, 2)), b.size(), **options)
    other = x if b.chance(60) else b.partners(x, 1)[0]
    given: dict[str, Any] = {"use_causal_mask": True} if b.chance(20) else {}
    if b.chance(15) and len(x.shape) == 3:
        given["key"] = b.partners(other, 1)[0]
    b.chain.append(None)
    return layer(x, other, **given)


def attention(b: NetBuilder, x: Any) -> Any:
    """Attention, AdditiveAttention, GroupQueryAttention."""
    if len(x.shape) != 3:
        return None
    b.marks.add("attention")
    b.chain.append(None)
    kind = b.chooser.integer(0, 3)
    if kind == 3 and b.generation == 3:
        return b.layer("GroupQueryAttention", b.size(), 4, b.pick((1, 2, 4)))(x, x)
    given = [x, *b.partners(x, b.pick((1, 1, 2)))]
    if kind == 2:
        return b.layer("AdditiveAttention", use_scale=b.chance(60))(given)
    layer = b.layer("Attention", use_scale=b.chance(50), score_mode=b.pick(("dot", "concat")))
    return layer(given, **({"use_causal_mask": True} if b.chance(25) else {}))

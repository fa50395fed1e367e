"""Small models made, saved and loaded again by whatever version of Keras runs this.

    python keras_versions.py make keras|tf.keras FOLDER    writes the models and what they predict
    python keras_versions.py load keras|tf.keras FOLDER    loads each and compares what it predicts

It stands alone and keeps to old Python (3.6): it runs where that version of Keras is installed.
`docs/keras-versions.md` says with which, and what becomes of the files.
"""

import importlib
import io
import json
import os
import re
import sys
import traceback

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np

BATCH = 4  # as many as channels of some nets, on purpose
NETS = {}


def net(function):
    """Enter a builder in the table: it is given Keras and gives a model."""
    NETS[function.__name__] = function
    return function


def import_keras(module):
    """Keras of that module, with names that came later where it only lacks those."""
    if module == "tf.keras":
        return importlib.import_module("tensorflow").keras
    if os.environ.get("KERAS_BACKEND") == "theano":
        importlib.import_module("theano.ifelse")  # which Keras uses and does not import
    return importlib.import_module("keras")


def first(owner, *names):
    """The first of these attributes that the owner has; a version without any lacks the net."""
    for name in names:
        if hasattr(owner, name):
            return getattr(owner, name)
    raise LackingError(names[0])


class LackingError(Exception):
    """This version has no such layer."""


# ---------------------------------------------------------------------------------------- the nets


@net
def dense(K):
    """Normalizations before, behind and in front of an activation; compiled and trained."""
    L = K.layers
    model = K.models.Sequential()
    model.add(L.Dense(4, activation="relu", input_shape=(4,), name="first"))
    model.add(L.BatchNormalization(name="bn_post"))
    model.add(L.Dense(4, use_bias=False))
    model.add(L.BatchNormalization(scale=False))
    model.add(L.Activation("tanh"))
    model.add(L.Dropout(0.5))
    model.add(L.BatchNormalization(center=False, momentum=0.9))
    model.add(L.Dense(3, activation="softmax", name="out"))
    model.compile(optimizer="adam", loss="categorical_crossentropy")
    rng = np.random.RandomState(1)
    model.train_on_batch(rng.normal(size=(8, 4)), np.eye(3)[rng.randint(0, 3, 8)])
    return model


@net
def conv(K):
    """An image net: paddings, strides, pooling, separable kernels, Flatten."""
    L = K.layers
    start = L.Input(shape=(9, 8, 3), name="image")
    x = L.Conv2D(4, 3, padding="same", use_bias=False)(start)
    x = L.BatchNormalization()(x)
    x = L.Activation("relu")(x)
    x = L.MaxPooling2D(2)(x)
    if backend(K) == "theano":  # has no separable convolutions
        x = L.Conv2D(4, (3, 3), padding="same")(x)
    else:
        x = L.SeparableConv2D(4, (3, 3), padding="same", depth_multiplier=2)(x)
    x = L.BatchNormalization(epsilon=2e-5)(x)
    x = L.ZeroPadding2D(((1, 0), (0, 1)))(x)
    x = L.Conv2D(5, (2, 3), strides=2, activation="elu")(x)
    x = L.BatchNormalization(axis=-1)(x)
    x = L.Flatten()(x)
    return K.models.Model(start, L.Dense(3)(x), name="conv_net")


@net
def spaces(K):
    """One and three dimensions, transposed, dilated, causal, cropped."""
    L = K.layers
    same = "valid" if backend(K) == "theano" else "same"  # where it pads in another way
    one = L.Input(shape=(8, 3))
    x = L.Conv1D(4, 3, padding="causal", dilation_rate=2)(one)
    x = L.BatchNormalization()(x)
    x = L.UpSampling1D(2)(x)
    x = L.Cropping1D((1, 2))(x)
    x = L.MaxPooling1D(3, strides=2, padding=same)(x)
    x = L.GlobalAveragePooling1D()(x)
    two = L.Input(shape=(5, 4, 4))
    y = L.Conv2DTranspose(3, 3, strides=2, padding=same)(two)
    y = L.BatchNormalization()(y)
    y = L.UpSampling2D((2, 1))(y)
    y = L.AveragePooling2D(2)(y)
    y = L.GlobalMaxPooling2D()(y)
    three = L.Input(shape=(4, 4, 4, 2))
    z = L.Conv3D(3, 2, activation="relu")(three)
    z = L.BatchNormalization()(z)
    z = L.Permute((2, 1, 3, 4))(z)
    z = L.Conv3D(2, 2, padding=same)(z)
    z = L.Reshape((-1,))(z)
    return K.models.Model([one, two, three], [L.Dense(2)(x), y, z])


@net
def depthwise(K):
    """A depthwise kernel, and channels that are not the last axis for its normalization."""
    L = K.layers
    start = L.Input(shape=(6, 6, 4))
    x = first(L, "DepthwiseConv2D")(3, padding="valid")(start)
    x = L.BatchNormalization()(x)
    x = first(L, "ReLU")(max_value=6.0)(x)
    x = L.Conv2D(4, 1)(x)
    x = L.BatchNormalization(axis=2)(x)
    return K.models.Model(start, L.GlobalAveragePooling2D()(x))


@net
def nested(K):
    """A model in a model, a Sequential in it, and a layer that is called twice."""
    L, M = K.layers, K.models
    inside = M.Sequential(name="tail")
    inside.add(L.Dense(4, input_shape=(4,)))
    inside.add(L.BatchNormalization())
    a = L.Input(shape=(4,))
    b = L.BatchNormalization(name="inner_bn")(L.Dense(4, activation="relu", name="inner_dense")(a))
    encoder = M.Model(a, inside(b), name="encoder")
    left, right = L.Input(shape=(4,), name="left"), L.Input(shape=(4,), name="right")
    shared = L.Dense(4, name="shared")
    x = L.add([shared(left), shared(right)])
    x = encoder(x)
    x = L.BatchNormalization(name="last_bn")(x)
    return M.Model([left, right], L.Dense(2, name="head")(x), name="outer")


@net
def siamese(K):
    """A model that is called twice."""
    L, M = K.layers, K.models
    a = L.Input(shape=(4,))
    b = L.BatchNormalization()(L.Dense(4)(a))
    twin = M.Model(a, L.Activation("relu")(b), name="twin")
    left, right = L.Input(shape=(4,)), L.Input(shape=(4,))
    x = L.concatenate([twin(left), twin(right)])
    return M.Model([left, right], L.Dense(2)(x))


@net
def branches(K):
    """Several inputs and outputs, merging layers, an input that is read in two places."""
    L = K.layers
    a, b = L.Input(shape=(4,), name="a"), L.Input(shape=(4,), name="b")
    x = L.BatchNormalization(name="bn_x")(L.Dense(4, name="dense_x")(a))
    y = L.BatchNormalization(name="bn_y")(L.Dense(4, name="dense_y")(b))
    summed = L.Add(name="add")([x, y, a])
    joined = L.Concatenate(name="join", axis=-1)([summed, L.Activation("sigmoid")(summed)])
    product = L.Multiply(name="product")([L.Maximum(name="max")([x, y]), b])
    dot = L.Dot(axes=1, normalize=True, name="dot")([product, a])
    mean = L.Average(name="mean")([product, summed])
    return K.models.Model([b, a], [L.Dense(2, name="first")(joined), dot, mean])


@net
def operators(K):
    """Arithmetic on tensors, where this Keras makes layers of it."""
    L = K.layers
    a, b = L.Input(shape=(4,), name="a"), L.Input(shape=(4,), name="b")
    x = L.BatchNormalization()(L.Dense(4)(a))
    y = L.Dense(4, activation="relu")(b)
    try:
        z = (x * 2.0 + y - 0.5) / 4.0
        z = L.Dense(3)(1.0 - z * y)
        return K.models.Model([a, b], L.BatchNormalization()(z))
    except (AttributeError, ValueError):  # as Keras before TensorFlow 1.14 has it
        raise LackingError("operators")


@net
def recurrent(K):
    """LSTM, GRU of both kinds, SimpleRNN, both directions, TimeDistributed."""
    L = K.layers
    start = L.Input(shape=(5, 3))
    x = L.TimeDistributed(L.Dense(4))(start)
    x = L.BatchNormalization()(x)
    x = L.LSTM(4, return_sequences=True)(x)
    x = L.TimeDistributed(L.BatchNormalization())(x)
    x = L.Bidirectional(L.GRU(3, return_sequences=True))(x)
    x = L.BatchNormalization()(x)
    x = L.SimpleRNN(4, return_sequences=True, go_backwards=True)(x)
    x = L.BatchNormalization()(x)
    x = L.Bidirectional(L.LSTM(2), merge_mode="sum")(x)
    return K.models.Model(start, L.Dense(2)(x))


@net
def gru(K):
    """A GRU with the second bias, and one without, and hard sigmoids."""
    L = K.layers
    start = L.Input(shape=(5, 4))
    x = L.BatchNormalization()(start)
    try:
        x = L.GRU(4, reset_after=True, return_sequences=True)(x)
    except TypeError:
        raise LackingError("reset_after")
    x = L.BatchNormalization()(x)
    x = L.GRU(4, reset_after=False, recurrent_activation="hard_sigmoid")(x)
    return K.models.Model(start, L.Dense(2)(L.BatchNormalization()(x)))


@net
def masked(K):
    """Tokens, padded with zeros."""
    L = K.layers
    start = L.Input(shape=(6,), dtype="int32", name="tokens")
    x = L.Embedding(9, 4, mask_zero=True)(start)
    x = L.LSTM(4, return_sequences=True)(x)
    x = L.BatchNormalization()(x)
    x = L.Bidirectional(L.GRU(3))(x)
    x = L.BatchNormalization()(x)
    return K.models.Model(start, L.Dense(2, activation="sigmoid")(x))


@net
def tokens(K):
    """An embedding whose normalization goes into its table."""
    L = K.layers
    model = K.models.Sequential()
    model.add(L.Embedding(7, 4, input_length=5) if old(K) else L.Embedding(7, 4))
    model.add(L.BatchNormalization())
    model.add(L.SpatialDropout1D(0.3))
    model.add(L.Conv1D(3, 3, activation="relu"))
    model.add(L.GlobalMaxPooling1D())
    model.add(L.Dense(1, activation="sigmoid"))
    model.predict(np.zeros((1, 5), "int32"))
    return model


def old(K):
    """Whether this is not Keras 3."""
    return not version_of(K).startswith("3")


def backend(K):
    return K.backend.backend() if hasattr(K.backend, "backend") else "tensorflow"


def version_of(K):
    return str(getattr(K, "__version__", "2"))


@net
def activations(K):
    """Layers of activations, with their settings."""
    L = K.layers
    model = K.models.Sequential()
    model.add(L.Dense(4, activation="selu", input_shape=(5, 4)))
    model.add(L.LeakyReLU(0.2))
    model.add(L.BatchNormalization())
    model.add(L.Dense(4, activation="softplus"))
    model.add(L.PReLU(shared_axes=[1]))
    model.add(L.BatchNormalization())
    model.add(L.GaussianNoise(0.1))
    model.add(L.Dense(4, activation="hard_sigmoid"))
    model.add(L.ELU(0.7))
    model.add(L.BatchNormalization())
    if hasattr(L, "ThresholdedReLU"):
        model.add(L.ThresholdedReLU(0.4))
    model.add(L.Dense(4, activation="softsign"))
    model.add(L.Softmax() if hasattr(L, "Softmax") else L.Activation("softmax"))
    return model


@net
def deferred(K):
    """A Sequential without an input shape: its first call builds it."""
    L = K.layers
    model = K.models.Sequential(name="deferred")
    try:
        model.add(L.Dense(4, name="one"))
        model.add(L.BatchNormalization(name="two"))
        model.add(L.Dense(3, name="three"))
        model.compile(optimizer="sgd", loss="mse")
        model.fit(np.ones((4, 4)), np.ones((4, 3)), epochs=1, verbose=0)
    except ValueError:
        raise LackingError("deferred")
    return model


@net
def double(K):
    """Everything in float64, set for the whole session."""
    set_float64(K, True)
    L = K.layers
    model = K.models.Sequential()
    model.add(L.Dense(4, activation="relu", input_shape=(3,)))
    model.add(L.BatchNormalization())
    model.add(L.Dense(2))
    return model


@net
def half(K):
    """Mixed precision."""
    try:
        set_policy(K, "mixed_float16")
    except (AttributeError, ValueError):
        raise LackingError("mixed_float16")
    L = K.layers
    start = L.Input(shape=(4,), name="x")
    x = L.BatchNormalization()(L.Dense(4, activation="relu")(start))
    x = L.BatchNormalization()(L.Dense(4)(x))
    return K.models.Model(start, L.Activation("linear", dtype="float32")(L.Dense(2)(x)))


def set_policy(K, name):
    if hasattr(K, "mixed_precision") and hasattr(K.mixed_precision, "set_global_policy"):
        K.mixed_precision.set_global_policy(name)
    elif old(K):
        K.mixed_precision.experimental.set_policy(name)


@net
def preprocess(K):
    """Rescaling and Normalization of an image."""
    L = K.layers
    home = L
    if not hasattr(L, "Rescaling") and hasattr(L, "experimental"):
        home = L.experimental.preprocessing
    rng = np.random.RandomState(2)
    scaler = first(home, "Normalization")()
    scaler.adapt(rng.normal(100.0, 50.0, (16, 6, 6, 3)).astype("float32"))
    start = L.Input(shape=(6, 6, 3))
    x = scaler(start)
    x = L.Conv2D(4, 3, activation="relu")(x)
    x = first(home, "Rescaling")(0.5, offset=-0.25)(x)
    x = L.BatchNormalization()(x)
    x = L.Conv2D(3, 2)(x)
    return K.models.Model(start, L.GlobalAveragePooling2D()(x))


@net
def attention(K):
    """Attention over a normalized sequence."""
    L = K.layers
    start = L.Input(shape=(5, 4))
    x = first(L, "LayerNormalization")()(start)
    if hasattr(L, "MultiHeadAttention"):
        x = L.Add()([x, L.MultiHeadAttention(2, 3)(x, x)])
    x = L.BatchNormalization()(x)
    return K.models.Model(start, L.Dense(2)(x))


def own_classes(K):
    """Classes that are no part of Keras: a layer, and a model that is built of layers."""

    class Twice(K.layers.Layer):
        def call(self, inputs):
            return inputs * 2.0

        def compute_output_shape(self, input_shape):
            return input_shape

    class TinyNet(K.models.Model):
        pass

    return {"Twice": Twice, "TinyNet": TinyNet}


@net
def custom(K):
    """A layer of the user's own."""
    L = K.layers
    start = L.Input(shape=(4,))
    x = L.BatchNormalization()(L.Dense(4)(start))
    x = own_classes(K)["Twice"](name="own")(x)
    return K.models.Model(start, L.BatchNormalization()(L.Dense(3)(x)))


@net
def named(K):
    """A model of the user's own class that is built of layers like any other."""
    L = K.layers
    start = L.Input(shape=(4,))
    x = L.BatchNormalization()(L.Dense(4, activation="relu")(start))
    return own_classes(K)["TinyNet"](start, L.Dense(3)(x))


# ----------------------------------------------------------------------------- weights and inputs


def randomize(layer, rng):
    """Set every weight at random: gammas of both signs with a zero, variances in [0.1, 3]."""
    inner = list(getattr(layer, "layers", ()))
    inner += [
        getattr(layer, part) for part in ("forward_layer", "backward_layer") if hasattr(layer, part)
    ]
    if not inner and type(layer).__name__ == "TimeDistributed":
        inner = [layer.layer]
    if inner:
        for one in inner:
            randomize(one, rng)
        return
    weights = list(layer.weights)
    if not weights or type(layer).__name__ == "Normalization":
        return
    names = [getattr(weight, "path", weight.name) for weight in weights]
    values = layer.get_weights()
    layer.set_weights([drawn(name, value, rng) for name, value in zip(names, values)])


def drawn(name, value, rng):
    bare = re.split("[/:]", re.sub(":0$", "", name))[-1]
    shape = value.shape
    if value.dtype.kind != "f":
        return value
    if "variance" in bare:
        new = rng.uniform(0.1, 3.0, shape)
    elif bare.startswith("gamma"):
        new = rng.uniform(0.3, 1.7, shape) * rng.choice([-1.0, 1.0], shape)
        new[rng.randint(len(new))] = 0.0
    elif len(shape) > 1:
        new = rng.normal(0.0, 1.0 / np.sqrt(np.prod(shape[:-1])), shape)
    else:
        new = rng.normal(0.0, 1.0, shape)
    return new.astype(value.dtype)


def inputs_of(model, rng):
    arrays = []
    for tensor in model.inputs:
        shape = [BATCH] + list(shape_of(tensor))[1:]
        shape = [size or 5 for size in shape]
        dtype = re.sub("^<dtype: '|'>$", "", str(getattr(tensor.dtype, "name", tensor.dtype)))
        if "int" in dtype or "tokens" in tensor.name:
            arrays.append(rng.randint(0, 7, shape).astype("int32"))
        else:
            arrays.append(rng.normal(0.3, 1.0, shape).astype(dtype))
    return arrays


def shape_of(tensor):
    if hasattr(tensor, "_keras_shape"):
        return tensor._keras_shape
    shape = tensor.shape
    return shape.as_list() if hasattr(shape, "as_list") else shape


def predicted(model, arrays):
    made = model.predict(arrays if len(arrays) > 1 else arrays[0], batch_size=BATCH, verbose=0)
    return [np.asarray(one) for one in (made if isinstance(made, (list, tuple)) else [made])]


# ------------------------------------------------------------------------------- making the files


def keras_1(K):
    """All that Keras 1 is asked for: its files are not read."""
    L = K.layers
    model = K.models.Sequential()
    model.add(L.Dense(4, activation="relu", input_shape=(4,)))
    model.add(L.BatchNormalization())
    model.add(L.Dense(3))
    return model


def make(K, folder):
    """Every net that this version has, in every format that it has, and what it predicts."""
    if version_of(K).startswith("1."):
        keras_1(K).save(os.path.join(folder, "dense.h5"))
        return {"version": version(K), "left_out": {}}
    left_out = {}
    for name in NETS:
        reset(K)
        try:
            model, inputs = made(K, name)
            write_arrays(os.path.join(folder, name + ".npz"), inputs, predicted(model, inputs))
        except LackingError as error:
            left_out[name] = "has no %s" % error
            continue
        except Exception as error:  # what this version does not run is told
            traceback.print_exc()
            left_out[name] = said(error)
            continue
        for suffix in formats(K):
            try:
                save(K, model, os.path.join(folder, name + suffix), suffix)
            except Exception as error:  # what it does not save likewise
                left_out[name + suffix] = said(error)
        if name == "dense":
            save_halves(K, model, folder)
    return {"version": version(K), "left_out": left_out}


def said(error):
    return "%s: %s" % (type(error).__name__, " ".join(str(error).split())[:200])


def made(K, name):
    """A model with random weights, and inputs for it."""
    rng = np.random.RandomState(sum(map(ord, name)))
    model = NETS[name](K)
    randomize(model, rng)
    if name == "tokens":
        return model, [rng.randint(0, 7, (BATCH, 5)).astype("int32")]
    if name == "deferred":
        return model, [rng.normal(size=(BATCH, 4)).astype("float32")]
    return model, inputs_of(model, rng)


def set_float64(K, on):
    name = "float64" if on else "float32"
    K.backend.set_floatx(name)
    try:
        set_policy(K, name)
    except (AttributeError, ValueError):
        pass  # a version without policies
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", on)


def reset(K):
    set_float64(K, False)
    if hasattr(K.backend, "clear_session"):  # Theano has no session
        K.backend.clear_session()


def formats(K):
    """How to save: by suffix."""
    suffixes = [".h5"]
    if not old(K) or version_numbers(K) >= (2, 12):  # before, .keras was a name for HDF5
        suffixes.append(".keras")
    return suffixes


def is_tf(K):
    return "tensorflow" in K.__name__ or "keras.api" in K.__name__


def version_numbers(K):
    return tuple(int(part) for part in re.findall(r"\d+", version(K)["keras"])[:2])


def version(K):
    """What is at work here."""
    found = {"keras": version_of(K), "backend": backend(K)}
    found.update({"python": sys.version.split()[0], "numpy": np.__version__})
    for module in ("tensorflow", "theano", "jax", "torch", "h5py"):
        if module in sys.modules and hasattr(sys.modules[module], "__version__"):
            found[module] = sys.modules[module].__version__
    if "tensorflow" in found and is_tf(K):
        found["keras"] = found["tensorflow"] if old(K) else found["keras"]
    return found


def save(K, model, path, suffix):
    """The file; of one net also a SavedModel, where TensorFlow is what runs it."""
    model.save(path)
    if os.path.basename(path) != "dense.h5":
        return
    folder = path[: -len(suffix)] + ".saved_model"
    if not old(K):
        model.export(folder) if backend(K) == "tensorflow" else None
    elif is_tf(K):
        model.save(folder, save_format="tf")


def save_halves(K, model, folder):
    """The halves of a model: its architecture as JSON, its weights alone."""
    with open(os.path.join(folder, "halves.json"), "w") as file:
        file.write(model.to_json())
    for suffix in [".weights.h5"] + (["_weights.h5"] if old(K) else []):
        model.save_weights(os.path.join(folder, "halves" + suffix))


def write_arrays(path, inputs, outputs):
    arrays = {"in%d" % number: array for number, array in enumerate(inputs)}
    arrays.update({"out%d" % number: array for number, array in enumerate(outputs)})
    np.savez(path, **arrays)


def read_arrays(path):
    with np.load(path) as found:
        sides = []
        for side in ("in", "out"):
            count = len([key for key in found if key.startswith(side)])
            sides.append([found["%s%d" % (side, number)] for number in range(count)])
    return sides


# ---------------------------------------------------------------------------- loading folded files


def load(K, folder):
    """Load every model of the folder and compare what it predicts: "" or what is wrong, by file."""
    found = {}
    for name in sorted(os.listdir(folder)):
        stem, suffix = os.path.splitext(name)
        if suffix not in (".h5", ".keras") or stem not in NETS:
            continue
        reset(K)
        try:
            if stem == "double":
                set_float64(K, True)
            options = {"compile": False, "custom_objects": own_classes(K)}
            model = K.models.load_model(os.path.join(folder, name), **options)
            inputs, wanted = read_arrays(os.path.join(folder, stem + ".npz"))
            found[name] = difference(K, predicted(model, inputs), wanted, stem)
        except Exception as error:  # each is a finding
            traceback.print_exc()
            found[name] = said(error)
    return found


def difference(K, got, wanted, stem):
    if len(got) != len(wanted):
        return "%d outputs instead of %d" % (len(got), len(wanted))
    for one, other in zip(got, wanted):
        if one.shape != other.shape:
            return "shape %s instead of %s" % (one.shape, other.shape)
        size = max(float(np.abs(other).max()), 1e-6)
        error = float(np.abs(one.astype("float64") - other).max()) / size
        exact = 1e-6 if backend(K) == "jax" else 1e-9  # of float64; Theano keeps an epsilon
        if not error <= {"half": 6e-3, "double": exact}.get(stem, 2e-5):
            return "differs by %.2g of the largest value" % error
    return ""


def main(arguments):
    task, module, folder = arguments
    K = import_keras(module)
    if task == "make":
        os.makedirs(folder)
        found, name = make(K, folder), "made.json"
    else:
        found, name = load(K, folder), "loaded.json"
    with io.open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write("%s\n" % json.dumps(found, indent=1, sort_keys=True))
    print(json.dumps(found, indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""TensorFlow Lite files at their edges: lists at the end, padding twice, sizes, outputs."""

import struct

import numpy as np
import pytest

from tilewright.sw.importers.tflite.flatbuffer import Table, root
from tilewright.sw.importers.tflite.tflite_file import read_model
from tilewright.sw.importers.tflite.tflite_graph import build_graph
from tilewright.sw.model.evaluation import evaluate
from tilewright.sw.model.graph import ModelError
from tilewright.verif.tests.test_tflite import CONV, Writer, ints, model, sample


def test_lists_and_numbers_lie_within_the_file():
    """A table of one field, a list of two integers at the file's end."""
    content = struct.pack("<HHHHiIIii", 6, 8, 4, 9, 8, 4, 2, 5, -6)
    assert Table(content, 8, "t").array(0, "i4").tolist() == [5, -6]
    assert Table(content, 8, "t").number(1, "i", 7) == 7  # no field of this table
    for cut in (1, 4, 7):
        with pytest.raises(ModelError, match="a list of 2 items that goes beyond the end"):
            Table(content[:-cut], 8, "t").array(0, "i4")
    for offset in (9, 100):  # of the list of fields, before the file begins
        with pytest.raises(ModelError, match="t points outside the file of 28 bytes"):
            Table(content[:8] + struct.pack("<i", offset) + content[12:], 8, "t").number(0, "i")
    with pytest.raises(ModelError, match="f is not a TFL3 file, or is truncated"):
        root(struct.pack("<I", 8) + b"TFL2" + content, b"TFL3", "f")


def test_padding_before_padding_counts_twice():
    ones = np.ones((1, 3, 3, 1), "<f4")
    tensors = [
        ("x", (1, 2, 2, 1), None), ("widths", (4, 2), ints(0, 0, 1, 1, 1, 1, 0, 0)),
        ("padded", (1, 4, 4, 1), None), ("weights", (1, 3, 3, 1), ones), ("y", (1, 4, 4, 1), None),
    ]  # fmt: skip
    operators = [("PAD", (0, 1), (2,)), ("CONV_2D", (2, 3, -1), (4,), CONV)]
    graph = build_graph(read_model(model(tensors, operators)))
    x = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    found = dict(evaluate(graph, x))[graph.outputs[0]].reshape(4, 4)
    wide = np.pad(x.reshape(2, 2), 2)
    assert found.tolist() == [
        [wide[i : i + 3, j : j + 3].sum() for j in range(4)] for i in range(4)
    ]


@pytest.mark.parametrize("size", [(4, 7), (5, 6), (2, 3)])
def test_images_are_resized_to_twice_their_size_alone(size):
    tensors = [("x", (1, 2, 3, 4), None), ("size", (2,), ints(*size)), ("y", (1, *size, 4), None)]
    operators = [("RESIZE_BILINEAR", (0, 1), (2,), {3: ("B", 1)})]
    with pytest.raises(ModelError, match="RESIZE_BILINEAR: supported: twice the size"):
        build_graph(read_model(model(tensors, operators)))


def test_every_output_is_made_by_a_layer():
    tensors, operators, *_ = sample()
    with pytest.raises(ModelError, match="'bias'.* are not all made by layers"):
        build_graph(read_model(model(tensors, operators, outputs=(-1, 3))))


def single(op, shape, result, options, *constants):
    """Return the file of one operator."""
    tensors = [("x", shape, None), ("y", result, None)]
    tensors += [(f"k{i}", value.shape, value) for i, value in enumerate(constants)]
    inputs = (0, *range(2, len(tensors)))
    return model(tensors, [(op, inputs, (1,), options)], outputs=(1,))


def pool(width, height, stride_w=2, stride_h=2):
    sizes = {1: stride_w, 2: stride_h, 3: width, 4: height}
    return {0: ("b", 1)} | {number: ("i", size) for number, size in sizes.items()}


def kernel(*shape):
    return np.ones(shape, "<f4")


WIDE = {0: ("b", 1), 1: ("i", 16), 2: ("i", 16)}


@pytest.mark.parametrize(
    "content",
    [
        single("CONV_2D", (1, 17, 33, 1), (1, 2, 3, 1), WIDE, kernel(1, 1, 1, 1)),
        single("MAX_POOL_2D", (1, 4, 6, 2), (1, 2, 3, 2), pool(2, 2)),
        single("RESHAPE", (1, 2, 2, 2), (1, 1, 2, 4), {}),
        single("DEPTH_TO_SPACE", (1, 2, 2, 8), (1, 4, 4, 2), {0: ("i", 2)}),
    ],
)
def test_the_largest_strides_and_windows_that_fit_are_taken(content):
    assert len(build_graph(read_model(content)).nodes) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (single("CONV_2D", (1, 4, 4, 4), (1, 4, 4, 2), CONV, kernel(2, 1, 1, 3)), "different chan"),
        (single("CONV_2D", (1, 4, 4, 4), (1, 4, 4, 2), CONV, kernel(2, 1, 1, 5)), "different chan"),
        (single("CONV_2D", (1, 4, 4, 4), (1, 4, 4, 2), CONV, kernel(2, 1, 1, 4), kernel(3)),
         "bias is not 2 finite floats"),
        (single("MAX_POOL_2D", (1, 4, 5, 2), (1, 2, 2, 2), pool(2, 2)), "square windows side by"),
        (single("MAX_POOL_2D", (1, 5, 4, 2), (1, 2, 2, 2), pool(2, 2)), "square windows side by"),
        (single("MAX_POOL_2D", (1, 4, 4, 2), (1, 2, 2, 2), pool(2, 1)), "square windows side by"),
        (single("MAX_POOL_2D", (1, 4, 4, 2), (1, 2, 2, 2), pool(1, 2)), "square windows side by"),
        (single("MAX_POOL_2D", (1, 4, 4, 2), (1, 4, 2, 2), pool(2, 2, 2, 1)), "square windows"),
        (single("DEPTH_TO_SPACE", (1, 2, 2, 2), (1, 4, 4, 1), {0: ("i", 2)}), "block 2 does not"),
        (single("DEPTH_TO_SPACE", (1, 2, 2, 289), (1, 34, 34, 1), {0: ("i", 17)}), "block 17 does"),
        *(
            (single("DEPTHWISE_CONV_2D", (1, 4, 4, 2), (1, 4, 4, 2), CONV | {field: ("i", 2)},
                    kernel(1, 1, 1, 2)), "dilation is not supported")
            for field in (5, 6)
        ),
        (single("RESHAPE", (1, 4096, 4097, 1), (1, 4097, 4096, 1), {}), "up to 16,777,216 "),
        (single("RESHAPE", (1, 2, 2, 2), (2, 1, 2, 2), {}), "does not become"),
        (single("RESHAPE", (1, 2, 2, 2), (1, 1, 2, 2), {}), "does not become"),
        (model(*sample()[:2], inputs=(0, 4)), "the model has 2 inputs; supported: one"),
        (bytes(Writer({0: ("I", 3), 1: [], 2: [{}, {}], 4: [{}]}).data), "holds 2 subgraphs"),
    ],
)  # fmt: skip
def test_the_first_forms_that_are_not_taken(content, message):
    with pytest.raises(ModelError, match=message):
        build_graph(read_model(content))


def test_tensors_of_one_name_stay_apart():
    tensors, operators, *_ = sample()
    x = np.random.default_rng(1).normal(size=(2, 5, 7, 6)).astype(np.float32)
    plain = build_graph(read_model(model(tensors, operators)))
    wanted = dict(evaluate(plain, x))[plain.outputs[0]]
    same = [("same", *rest) for _, *rest in tensors]
    graph = build_graph(read_model(model(same, operators)))
    np.testing.assert_array_equal(dict(evaluate(graph, x))[graph.outputs[0]], wanted)


def test_padding_that_a_convolution_takes_in_keeps_its_four_sides():
    tensors = [
        ("x", (1, 3, 3, 1), None), ("widths", (4, 2), ints(0, 0, 2, 0, 0, 1, 0, 0)),
        ("padded", (1, 5, 4, 1), None), ("weights", (1, 3, 3, 1), kernel(1, 3, 3, 1)),
        ("y", (1, 3, 2, 1), None),
    ]  # fmt: skip
    operators = [("PAD", (0, 1), (2,)), ("CONV_2D", (2, 3, -1), (4,), CONV | {0: ("b", 1)})]
    graph = build_graph(read_model(model(tensors, operators)))
    assert len(graph.nodes) == 1
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    found = dict(evaluate(graph, x))[graph.outputs[0]].reshape(3, 2)
    wide = np.pad(x.reshape(3, 3), ((2, 0), (0, 1)))
    assert found.tolist() == [
        [wide[i : i + 3, j : j + 3].sum() for j in range(2)] for i in range(3)
    ]

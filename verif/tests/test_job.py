"""Jobs: what their files may say, how processors share the images, and what a run reports."""

from pathlib import Path
from threading import Event, Timer
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import helper

from tilewright.gen.errors import ToolError
from tilewright.hw.config import ConfigError
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw import job as module
from tilewright.sw.cycles import Timeline
from tilewright.sw.families.base import family_of
from tilewright.sw.job import (
    PreparedJob,
    Samples,
    Shard,
    _layers,
    estimate_job,
    prepare_job,
    read_job,
)
from tilewright.verif.onnx_reference import model as onnx_model
from tilewright.verif.tests.test_tflite import CONV, model

FIELDS = {
    "model": '"model.onnx"', "data": '"mnist"', "calibration": '"mse"', "calibration_images": "500",
    "engine": '"engine.toml"',
}  # fmt: skip
LENET = Path("examples/lenet5")


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"datta": '"mnist"'}, "unknown field 'datta'"),
    ({"images": "5"}, "unknown field 'images'"),
    ({"model": None}, "needs model, of type str"),
    ({"engine": "3"}, "needs engine, of type str"),
    ({"data": '"imagenet"'}, "data must be one of mnist, fashion, not 'imagenet'"),
    ({"calibration": '"best"'}, "calibration must be one of 'minmax', .*, not 'best'"),
    ({"calibration": '""'}, "calibration must be one of 'minmax', .*, not ''"),
    ({"calibration_images": "nan"}, "needs calibration_images, of type int"),
    ({"calibration_images": "true"}, "needs calibration_images, of type int"),
    ({"calibration_images": '"500"'}, "needs calibration_images, of type int"),
    ({"calibration_images": "-1"}, "calibration_images must be from 1 to 100000, not -1"),
    ({"calibration_images": "0"}, "calibration_images must be from 1 to 100000, not 0"),
    ({"calibration_images": "100001"}, "calibration_images must be from 1 to 100000, not 100001"),
    ({"calibration_images": "500\n500"}, "is not valid TOML"),
])  # fmt: skip
def test_fields_are_checked(changes, sentence, tmp_path):
    fields = {name: text for name, text in (FIELDS | changes).items() if text is not None}
    file = tmp_path / "job.toml"
    file.write_text("".join(f"{name} = {text}\n" for name, text in fields.items()))
    (tmp_path / "engine.toml").write_text('[datapath]\nfamily = "systolic"\n')
    for path in (tmp_path, file):
        with pytest.raises(ConfigError, match=sentence):
            read_job(path)
    file.write_text("".join(f"{name} = {text}\n" for name, text in FIELDS.items()))
    assert read_job(tmp_path).calibration_images == 500


def few(count):
    """Return 5 training and 8 test images."""
    rng = np.random.default_rng(1)
    values = rng.uniform(size=(13, 1, 28, 28)).astype(np.float32)
    labels = rng.integers(0, 10, 13)
    return Samples(
        calibration=values[:5][:count], calibration_labels=labels[:5][:count],
        test=values[5:], labels=labels[5:],
    )  # fmt: skip


@pytest.mark.parametrize(("images", "calibration", "sentence"), [
    (9, 5, "images must be from 1 to the 8 test images, not 9"),
    (0, 5, "images must be from 1 to the 8 test images, not 0"),
    (-1, 5, "images must be from 1 to the 8 test images, not -1"),
    (8, 6, "calibration_images must be from 1 to the 5 training images, not 6"),
])  # fmt: skip
def test_no_more_images_than_there_are(images, calibration, sentence, tmp_path, monkeypatch):
    monkeypatch.setitem(module.DATA, "mnist", few)
    text = (LENET / "job.toml").read_text()
    assert text.count("calibration_images = 500") == 1
    (tmp_path / "job.toml").write_text(text.replace("= 500", f"= {calibration}"))
    for file in LENET.iterdir():
        if file.name != "job.toml" and file.is_file():
            (tmp_path / file.name).symlink_to(file.resolve())
    with pytest.raises(ConfigError, match=f"^{sentence}$"):
        estimate_job(read_job(tmp_path), images=images)


def test_a_job_of_either_format_gives_the_same(tmp_path, monkeypatch):
    """Two convolutions in a TensorFlow Lite and in an ONNX file: equal golden models and cycles."""
    rng = np.random.default_rng(2)
    kernels = [rng.normal(size=shape).astype("<f4") for shape in ((4, 5, 5, 1), (10, 12, 12, 4))]
    tensors = [
        ("x", (1, 28, 28, 1), None), ("k", kernels[0].shape, kernels[0]),
        ("a", (1, 12, 12, 4), None), ("l", kernels[1].shape, kernels[1]),
        ("y", (1, 1, 1, 10), None),
    ]  # fmt: skip
    plain = CONV | {0: ("b", 1)}
    stem = plain | {1: ("i", 2), 2: ("i", 2), 3: ("b", 1)}
    operators = [("CONV_2D", (0, 1), (2,), stem), ("CONV_2D", (2, 3), (4,), plain)]
    (tmp_path / "net.tflite").write_bytes(model(tensors, operators))
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["s"], strides=[2, 2]),
        helper.make_node("Relu", ["s"], ["a"]),
        helper.make_node("Conv", ["a", "l"], ["y"]),
    ]
    first = {name: w.transpose(0, 3, 1, 2) for name, w in zip("kl", kernels, strict=True)}
    proto = onnx_model(nodes, first, [1, 1, 28, 28])
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    monkeypatch.setitem(module.DATA, "mnist", few)
    (tmp_path / "engine.toml").symlink_to((LENET / "engine.toml").resolve())
    found = []
    for name in ("net.tflite", "net.onnx"):
        fields = FIELDS | {"model": f'"{name}"', "calibration_images": "5"}
        text = "".join(f"{key} = {value}\n" for key, value in fields.items())
        (tmp_path / "job.toml").write_text(text)
        ready = prepare_job(read_job(tmp_path))
        found.append((ready.golden.tolist(), ready.cycles, ready.float_accuracy()))
    assert found[0] == found[1]
    assert len(np.unique(found[0][0])) > 50


@pytest.fixture
def shards(monkeypatch):
    """Stand-ins for engines: a program is what its run gives, or what it raises."""
    engines, ended = [], []

    class Hardware:
        def __init__(self, config):
            engines.append(self)

        def run(self, program, progress):
            for beats in (1, 2):
                progress(beats)
                program.step.wait(program.seconds)
            if isinstance(program.result, BaseException):
                raise program.result
            ended.append(program.result)
            return program.result

    monkeypatch.setattr(module, "SimulatedEngine", Hardware)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 3)

    def shard(images, result, seconds=0.0):
        program = SimpleNamespace(y_beats=[2], result=result, seconds=seconds, step=Event())
        return Shard(images=images, program=program, timeline=None)

    return shard, engines, ended


def test_shards_are_run_side_by_side_and_stay_in_order(shards):
    shard, engines, _ = shards
    told = []
    run = [shard(4, "a", seconds=0.2), *(shard(4, name) for name in "bcd")]
    job = SimpleNamespace(engine=None)
    results, _ = module._simulate(job, run, lambda *done: told.append(done))
    assert results == ["a", "b", "c", "d"]
    assert max(told) == (16, 16)
    assert {total for _, total in told} == {16}
    assert len(engines) == 1 + 3, "one for each processor, after one that compiles"


def test_a_part_that_fails_stops_the_others(shards):
    shard, _, ended = shards
    slow = shard(1, "late", seconds=20)
    run = [shard(1, ToolError("stopped")), slow, shard(1, "c")]
    Timer(0.1, slow.program.step.set).start()
    with pytest.raises(ToolError, match="stopped"):
        module._simulate(SimpleNamespace(engine=None), run, lambda done, total: None)
    assert "late" not in ended


def test_shards_of_all_sizes_together_are_the_images(monkeypatch):
    """Parts are whole batches; equal ones are predicted once."""
    predicted = []
    monkeypatch.setattr(module, "predict", lambda engine, program: predicted.append(program))
    plan = SimpleNamespace(batch=48, program=lambda images: images.tolist())
    made = module._shards(None, plan, np.arange(400))
    assert [shard.images for shard in made] == [288, 112]
    assert sum((shard.program for shard in made), []) == list(range(400))
    assert len(predicted) == 2


def timeline(*done, cycles=0):
    return Timeline(cycles, tuple(SimpleNamespace(done=cycle) for cycle in done))


def test_a_layer_has_the_cycles_since_the_one_before():
    """Three products: of the first layer, the second, and the first again; in two shards."""
    layer = SimpleNamespace(name="a", op="Gemm", rows=4, k=2, n=3, macs=24, mode=0,
                            weights=np.ones((2, 3), np.int64))  # fmt: skip
    other = SimpleNamespace(**{**vars(layer), "name": "b", "rows": 1, "macs": 6})
    ready = PreparedJob(
        job=None, family=family_of(SystolicConfig(rows=2, cols=3)), graph=None,
        network=SimpleNamespace(engine_layers=[layer, other]),
        tiles=[np.array([[0, 1]]), np.array([[0, -1]])],
        plan=SimpleNamespace(gemm_layers={1: [0, 1], 2: [0]}.get), shards=(
            Shard(images=1, program=None, timeline=timeline(10, 30)),
            Shard(images=2, program=None, timeline=timeline(30)),
        ),
        golden=None, test=None, labels=np.array([1, 0]),
    )  # fmt: skip
    first, second = _layers(ready, 2)
    assert (first.name, first.op, first.shape, first.macs) == ("a", "Gemm", (4, 2, 3), 24)
    assert (first.cycles, second.cycles) == (20, 10)
    # 2 images of 24 products in 40 cycles of 6 PEs; of the second layer one of two rows is left.
    assert first.utilisation == pytest.approx(2 * 24 / (6 * 40))
    assert second.utilisation == pytest.approx(2 * 3 / (6 * 20))
    assert ready.useful() == 2 * (24 + 3)


def test_accuracy_is_the_share_of_right_answers():
    network = SimpleNamespace(dequantise_output=lambda outputs: outputs * np.array([1.0, 3.0, 1.0]))
    ready = PreparedJob(
        job=None, family=None, graph=None, network=network, tiles=[], plan=None, shards=(),
        golden=None, test=None, labels=np.array([0, 1, 2, 2, 1]),
    )  # fmt: skip
    outputs = np.array([[9, 2, 1], [4, 2, 1], [1, 2, 9], [9, 1, 2], [1, 1, 1]])
    assert ready.accuracy(outputs) == pytest.approx(4 / 5)


@pytest.mark.parametrize("equal", [True, False])
def test_what_a_run_reports(monkeypatch, equal):
    """Four images; the float network is right in one, golden in three, the RTL in two or three."""
    golden = np.array([[9, 0], [9, 0], [0, 9], [9, 0]])
    outputs = golden if equal else np.array([[9, 0], [0, 9], [0, 9], [9, 0]])
    real = np.array([[1.0, 0.0]] * 4)
    monkeypatch.setattr(module, "_float_outputs", lambda graph, x: real)
    layer = SimpleNamespace(name="a", op="Gemm", rows=1, k=2, n=2, macs=4, mode=0,
                            weights=np.ones((2, 2), np.int64))  # fmt: skip
    ready = PreparedJob(
        job=SimpleNamespace(engine=None),
        family=family_of(SystolicConfig(rows=1, cols=2)),
        graph=None,
        network=SimpleNamespace(engine_layers=[layer], dequantise_output=lambda values: values),
        tiles=[np.array([[0, 1]])],
        plan=SimpleNamespace(
            gemm_layers=lambda images: [0], batch=3,
            decode=lambda *run: {("a", 3): outputs[:3], ("b", 1): outputs[3:]}[run],
        ),
        shards=(
            Shard(images=3, program=None, timeline=timeline(50, cycles=55)),
            Shard(images=1, program=None, timeline=timeline(30, cycles=35)),
        ),
        golden=golden, test=None, labels=np.array([0, 0, 1, 1]),
    )  # fmt: skip
    monkeypatch.setattr(module, "prepare_job", lambda *args, **options: ready)
    ran = [SimpleNamespace(lanes="a", cycles=60), SimpleNamespace(lanes="b", cycles=40)]
    monkeypatch.setattr(module, "_simulate", lambda *args: (ran, 12.5))
    found = module.run_job(ready.job)
    assert (found.images, found.batch, found.seconds) == (4, 3, 12.5)
    assert (found.cycles, found.predicted_cycles) == (100, 90)
    assert (found.float_accuracy, found.golden_accuracy) == (0.5, 0.75)
    assert found.rtl_accuracy == (0.75 if equal else 0.5)
    assert found.equal == equal
    assert found.utilisation == 4 * 4 / (2 * 100)
    assert found.layers[0].utilisation == 4 * 4 / (2 * 80)
    guessed = module.estimate_job(ready.job)
    assert (guessed.images, guessed.cycles, guessed.golden_accuracy) == (4, 90, 0.75)
    assert (guessed.float_accuracy, guessed.utilisation) == (0.5, 4 * 4 / (2 * 90))

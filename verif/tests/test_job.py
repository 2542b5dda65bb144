"""Job files: each field is checked before any work, and no image is asked for that is not there."""

from pathlib import Path

import numpy as np
import pytest

from tilewright.hw.config import ConfigError
from tilewright.sw import job as module
from tilewright.sw.job import Samples, estimate_job, read_job

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


@pytest.mark.parametrize(("images", "calibration", "sentence"), [
    (9, 5, "images must be from 1 to the 8 test images, not 9"),
    (0, 5, "images must be from 1 to the 8 test images, not 0"),
    (-1, 5, "images must be from 1 to the 8 test images, not -1"),
    (8, 6, "calibration_images must be from 1 to the 5 training images, not 6"),
])  # fmt: skip
def test_no_more_images_than_there_are(images, calibration, sentence, tmp_path, monkeypatch):
    def few(count):
        values = np.zeros((13, 1, 28, 28), np.float32)
        labels = np.zeros(13, np.int64)
        return Samples(
            calibration=values[:5][:count], calibration_labels=labels[:5][:count],
            test=values[5:], labels=labels[5:],
        )  # fmt: skip

    monkeypatch.setitem(module.DATA, "mnist", few)
    text = (LENET / "job.toml").read_text()
    assert text.count("calibration_images = 500") == 1
    (tmp_path / "job.toml").write_text(text.replace("= 500", f"= {calibration}"))
    for file in LENET.iterdir():
        if file.name != "job.toml" and file.is_file():
            (tmp_path / file.name).symlink_to(file.resolve())
    with pytest.raises(ConfigError, match=f"^{sentence}$"):
        estimate_job(read_job(tmp_path), images=images)

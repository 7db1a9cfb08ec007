"""``ppocr``: the features on which PP-OCRv4 recognises characters, from an ONNX file."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedbridge.core.packages import Package
from fedbridge.models import import_extra
from fedbridge.models.fm.foundation import ImageModel, fingerprint
from fedbridge.models.fm.packaged import packaged_file

# the package itself would bring OpenCV and more; its licence is Apache-2.0
PACKAGE = Package(
    "pip",
    "rapidocr-onnxruntime",
    14.9,
    version="1.4.4",
    sha256="971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
)
MEMBER = "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"
SHA256 = "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b"
INPUT, FEATURES = "x", "transpose_51.tmp_0"  # what it reads, and what its last layer reads
HEIGHT, WIDTH = 48, 96  # pixels of the line of text that a picture becomes
PLACES, CHANNELS = 12, 120


def ppocr(size: int, device: torch.device, precision: str) -> ImageModel:
    """Load the recogniser of PP-OCRv4; embeddings are its 12 x 120 features, flattened.

    It was trained on lines of text 48 pixels high, so ``size`` is ignored, and a picture stands
    in the middle of white paper. ONNX Runtime computes in float32 on the processor. Raises
    UserError if a package is missing, or the file is not the pinned one.
    """
    runtime = import_extra("onnxruntime", "onnx", "large.model 'ppocr'")
    path = packaged_file(PACKAGE, MEMBER, SHA256)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(
        tapped(path.read_bytes(), FEATURES), options, providers=["CPUExecutionProvider"]
    )
    settings: dict[str, object] = {"model": "ppocr", "width": WIDTH, "precision": precision}
    mark = fingerprint(settings, SHA256)
    dimension = PLACES * CHANNELS
    return ImageModel("ppocr", dimension, mark, OcrFeatures(session), HEIGHT, device, "float32")


class OcrFeatures:
    """Maps pictures to what the recogniser sees in them, place by place."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def __call__(self, pictures: Tensor) -> Tensor:
        """Map ``(B, 3, 48, 48)`` in 0..255 to ``(B, 1440)``."""
        margin = (WIDTH - HEIGHT) // 2
        lines = torch.nn.functional.pad(pictures, (margin, margin), value=255.0)
        scaled = (lines / 127.5 - 1.0).cpu().numpy()
        (features,) = self.session.run([FEATURES], {INPUT: scaled})
        return torch.from_numpy(np.asarray(features)).flatten(1)


def tapped(model: bytes, value: str) -> bytes:
    """Return an ONNX file that also gives out ``value``, one that it computes on its way.

    Protocol buffers are merged by joining their bytes, so what is appended adds to the graph:
    ``ModelProto{graph: GraphProto{output: ValueInfoProto{name: value}}}``, fields 7, 12 and 1.
    """
    message = value.encode()
    for field in (1, 12, 7):
        # field number and wire type 2 (length-delimited), then a length that fits into 7 bits
        message = bytes([field << 3 | 2, len(message)]) + message
    return model + message

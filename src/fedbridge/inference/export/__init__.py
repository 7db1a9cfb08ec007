"""A client's small model for use elsewhere: ONNX, TorchScript, safetensors, with a model card."""

from fedbridge.inference.export.folder import FORMATS, KIND, Exported, Format, export

__all__ = ["FORMATS", "KIND", "Exported", "Format", "export"]

"""Content encoders beside the default: sentence encoders as ONNX folders, and where an artifact keeps its own."""

from sidestream.tokenizer.encoders.onnx_text import OnnxTextEncoder
from sidestream.tokenizer.encoders.opening import open_encoder, store_encoder, stored_encoder

__all__ = ["OnnxTextEncoder", "open_encoder", "store_encoder", "stored_encoder"]

"""Additional content encoders: sentence encoders as ONNX folders, and their storage in an artifact."""

from sidestream.tokenizer.encoders.onnx_text import OnnxTextEncoder
from sidestream.tokenizer.encoders.opening import open_encoder, store_encoder, stored_encoder

__all__ = ["OnnxTextEncoder", "open_encoder", "store_encoder", "stored_encoder"]

"""Errors of the generator and of its data; the whole tree is shown in `streams/errors.py`."""

from sidestream.tokenizer.errors import SidestreamError


class DataError(SidestreamError):
    """A log folder or a published data set is damaged.

    Operator action: the message names file and line; restore the file or remove the line.
    """


class StateError(SidestreamError):
    """The bytes of a user state cannot be decoded by this version.

    Operator action: run the version that wrote them, or `sidestream state reset` to rebuild from the log.
    """


class TrainingError(SidestreamError):
    """A training or an export cannot continue.

    Operator action: correct the setting or the data named in the message.
    """


class EngineError(SidestreamError):
    """The ONNX engine refused a request or a catalogue.

    Operator action: check that the model artifact belongs to the tokenizer version of the catalogue.
    """

"""The errors of the generator and of its data; the whole tree is pictured in `streams/errors.py`."""

from sidestream.tokenizer.errors import SidestreamError


class DataError(SidestreamError):
    """A log folder or a published data set is damaged.

    Operator action: the message names file and line; restore the file or leave the line out.
    """


class StateError(SidestreamError):
    """Bytes of a user state cannot be read with this code.

    Operator action: run the version that wrote them, or `sidestream state reset` to rebuild from the log.
    """


class TrainingError(SidestreamError):
    """A training or an export cannot go on.

    Operator action: the message names the setting or the data that stands in the way.
    """


class EngineError(SidestreamError):
    """The ONNX engine refused a request or a catalogue.

    Operator action: check that the model artifact belongs to the tokenizer version of the catalogue.
    """

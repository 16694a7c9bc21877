"""Root of the error tree and the tokenizer's errors; the whole tree is shown in `streams/errors.py`."""


class SidestreamError(Exception):
    """Base class of all errors that Sidestream raises deliberately.

    The message states what, where, expected, got and what to do, in one line.
    """


class ArtifactError(SidestreamError):
    """A tokenizer or model artifact is missing, damaged, or does not match the one it is paired with.

    Operator action: point the settings at the matching pair, or train and export it again.
    """


class TokenizerError(SidestreamError):
    """Vectors, texts or SIDs do not fit the tokenizer.

    Operator action: check the shape, the dimension and the tokenizer version named in the message.
    """


class CatalogueError(SidestreamError):
    """An item update cannot be applied to the catalogue, or a snapshot would be invalid.

    Operator action: the update is named in the message; correct it at its source and publish it again.
    """

"""The root of the error tree and the errors of the tokenizer; the whole tree is pictured in `streams/errors.py`."""


class SidestreamError(Exception):
    """Any error that Sidestream raises on purpose.

    The message says what, where, expected, got and what to do, in one line.
    """


class ArtifactError(SidestreamError):
    """A tokenizer or model artifact is missing, damaged, or does not belong to the one it is paired with.

    Operator action: point the settings at the matching pair, or train and export it again.
    """


class TokenizerError(SidestreamError):
    """Vectors, texts or SIDs do not fit the tokenizer that was asked to handle them.

    Operator action: check the shape, the dimension and the tokenizer version named in the message.
    """


class CatalogueError(SidestreamError):
    """An item update cannot be applied to the catalogue, or a snapshot would be invalid.

    Operator action: the update is named in the message; correct it at its source and publish it again.
    """

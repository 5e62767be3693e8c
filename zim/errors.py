"""Domain errors; each subclasses the builtin that users of SAM already catch."""


class ZimError(Exception):
    """Base class of every error this package raises on purpose."""


class PromptError(ZimError, ValueError):
    """A prompt (points, labels, box, mask input, scribble) is missing, malformed or outside the image."""


class ImageError(ZimError, ValueError):
    """An image has the wrong shape, dtype or size, or cannot be decoded."""


class ConfigError(ZimError, ValueError):
    """A configuration value is impossible or two values contradict each other."""


class DataError(ZimError, ValueError):
    """A data set, label or alpha on disk or in memory is not what its layout promises."""


class CheckpointError(ZimError, RuntimeError):
    """A checkpoint cannot be read, or does not fit the model it is loaded into."""


class ImageNotSetError(ZimError, RuntimeError):
    """A prediction was asked for before `set_image`."""


class MissingDependencyError(ZimError, ImportError):
    """An optional library is needed here; the message names the extra that installs it."""

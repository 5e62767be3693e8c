"""The only door to open3d: imported when it is needed, with the way to install it when it is missing."""

from typing import Any

from zim.errors import MissingDependencyError


def import_open3d() -> Any:
    """The module `open3d`.

    Raises:
        MissingDependencyError: it is not installed, or its system library libusb-1.0 is missing.
    """
    try:
        import open3d
    except ImportError as error:
        if "libusb" in str(error):
            raise MissingDependencyError(
                "open3d needs the system library libusb-1.0; install it with: apt-get install libusb-1.0-0"
            ) from error
        raise MissingDependencyError(
            f"3-D surfaces need open3d ({error}); install it with: pip install 'zim-matting[multiview]'"
        ) from error
    return open3d

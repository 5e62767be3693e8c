"""Commands under test set the number of threads of this process; it is put back afterwards."""

from collections.abc import Iterator

import cv2
import pytest
import torch


@pytest.fixture(autouse=True)
def thread_counts() -> Iterator[None]:
    """Restore torch's and OpenCV's thread counts."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])

import struct

import pytest

from model.images.headers import read_header
from model.images.image_errors import UnsupportedImage
from tests.support.image_files import FILES


@pytest.mark.parametrize("compression", [1, 2, 4, 5])
def test_a_compressed_bmp_is_refused(compression):
    data = FILES["bmp grey"]
    with pytest.raises(UnsupportedImage, match="accepted uncompressed"):
        read_header(data[:30] + struct.pack("<I", compression) + data[34:])

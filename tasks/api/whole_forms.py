"""Forms of which no part is passed over: Django drops silently what it cannot make sense of."""

from __future__ import annotations

from typing import Any, Final

from django.core.files.uploadhandler import FileUploadHandler
from django.http.multipartparser import MultiPartParser, MultiPartParserError

_MOST_SPACE: Final = 64
"""How many bytes after the last line of a form are looked at for white space."""


class WholeForms(FileUploadHandler):
    """Refuses a form with a part that cannot be read, or without its end.

    Stands before the other handlers, which do the work. Parts without a name, or with a file
    name of which nothing is left, would be lost; a form without its last line is cut off.
    """

    def handle_raw_input(  # type: ignore[override]  # the boundary comes as bytes
        self,
        input_data: Any,
        META: dict[str, Any],
        content_length: int,
        boundary: bytes,
        encoding: str | None = None,
    ) -> Any:
        """The texts and files, as Django reads them. Raises MultiPartParserError."""
        assert self.request is not None  # noqa: S101  (Django sets it)
        others = [each for each in self.request.upload_handlers if each is not self]
        watched = _Watched(input_data, boundary)
        parser = MultiPartParser(META, watched, others, encoding)  # type: ignore[arg-type]
        texts, files = parser.parse()
        found = sum(len(values) for part in (texts, files) for _, values in part.lists())
        if not watched.ended or watched.parts != found:
            for _, uploads in files.lists():
                for upload in uploads:
                    upload.close()
            raise MultiPartParserError("The form has a part that cannot be read, or no end.")
        return texts, files

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        """Nothing is kept here."""
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Nothing is kept here."""


class _Watched:
    """The stream of a form, with the number of its delimiters and its last bytes."""

    def __init__(self, stream: Any, boundary: bytes) -> None:
        self._stream = stream
        self._delimiter = b"--" + boundary
        self._delimiters = 0
        self._last = b""

    @property
    def parts(self) -> int:
        """How many parts have come; the last delimiter begins none."""
        return self._delimiters - 1

    @property
    def ended(self) -> bool:
        """Whether the last line was that of a form."""
        return self._last.rstrip().endswith(self._delimiter + b"--")

    def read(self, size: int | None = None, /) -> bytes:
        """As the stream's."""
        data: bytes = self._stream.read(-1 if size is None else size)
        overlap = self._last[-(len(self._delimiter) - 1) :]
        self._delimiters += (overlap + data).count(self._delimiter)
        self._last = (self._last + data)[-(len(self._delimiter) + _MOST_SPACE) :]
        return data

"""Where a root lies: a local folder, or a URI that pyarrow reaches, with its failures in words.

Requests to S3 that fail or stall are made again with growing pauses, for about a minute. Failures that are
known are told so that a person can act on them.
"""

import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import pyarrow as pa
from pyarrow import fs

from lottery_ray.errors import InputError

T = TypeVar("T")

SCHEMES = ("file", "s3", "gs")
KNOWN = "A root is a folder, or a file://, s3:// or gs:// URI."

ATTEMPTS = 11
"""Of a request to S3; the pauses between them double, and add up to a minute."""
FIRST_ATTEMPTS = 7
"""Before a sweep begins: three seconds, for a wrong address shall not take a minute to tell."""
BLOCK = 2**26
"""Bytes of an artifact that one request reads."""

CREDENTIALS = (
    "The server refuses the credentials ({0}). They come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
    " ~/.aws/credentials, or the machine's role, and must allow to list, read, write and delete there."
)
WORDS = {
    r"NETWORK_CONNECTION.*?curlCode: \d+, ([^;]*)": "The server does not answer ({0}). Is the address right?",
    r"(NO_SUCH_BUCKET|NoSuchBucket|Bucket '.*' not found)": "There is no such bucket. Make it first.",
    r"REQUEST_TIME_TOO_SKEWED": "This machine's clock is wrong.",
    r"(ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|ExpiredToken|status 403)": CREDENTIALS,
    r"(PermanentRedirect|AuthorizationHeaderMalformed|status 301)": (
        "The bucket is in another region ({0}). Add ?region=... to the URI."
    ),
    r"(SLOW_DOWN|INTERNAL_FAILURE|SERVICE_UNAVAILABLE|status 5\d\d)": (
        "The server failed or was overloaded for too long ({0}). Try again later."
    ),
}
"""{pattern of an error of pyarrow: what a person is told}."""

FULL = re.compile("No space left on device|Disk quota exceeded|os error 28")


def in_words(error: Exception) -> str:
    """What a person is told of a file system's error, in one line."""
    text = " ".join(str(error).split())
    for pattern, words in WORDS.items():
        if found := re.search(pattern, text):
            return words.format(*found.groups())
    return text


def full_disk(error: Exception, *folders: Path) -> InputError | None:
    """What is told if an error comes from a full disk: that of the folder with the least space left."""
    if not FULL.search(str(error)):
        return None
    there = [next(place for place in (folder, *folder.parents) if place.exists()) for folder in folders]
    free = {folder: shutil.disk_usage(folder).free for folder in there}
    fullest = min(free, key=free.__getitem__)
    return InputError(
        f"The disk is full: {fullest} has {free[fullest]:,} bytes left. Make room, and run the same command"
        " again."
    )


@contextmanager
def room(*folders: Path) -> Iterator[None]:
    """For what writes into these folders. Raises InputError, in words, if a disk is full."""
    try:
        yield
    except Exception as error:
        if full := full_disk(error, *folders):
            raise full from error
        raise


@dataclass(frozen=True)
class Location:
    """Files in a folder or under a URI, by their names within it."""

    uri: str
    filesystem: fs.FileSystem
    path: str

    @classmethod
    def at(cls, root: str, attempts: int = ATTEMPTS) -> Self:
        """Raises InputError if there cannot be such a root."""
        if "://" not in root:
            return cls(root, fs.LocalFileSystem(), str(Path(root).expanduser().resolve()))
        scheme, _, rest = root.partition("://")
        place = re.split("[/?#]", rest)[0]
        if scheme not in SCHEMES or not rest.strip("/"):
            raise InputError(f"The root {scheme}:// is no such place. {KNOWN}")
        if {"@", ":"} & set(place) and place.partition("@")[0] != "anonymous":
            # neither may be repeated: a secret may have slashes, and so stand anywhere
            raise InputError(
                f"The root {scheme}://... holds credentials, which would be seen in logs and in the list of"
                " processes. Put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or into"
                " ~/.aws/credentials."
            )
        try:
            filesystem, path = fs.FileSystem.from_uri(root)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"The root {root.partition('?')[0]}: {in_words(error)} {KNOWN}") from None
        if isinstance(filesystem, fs.S3FileSystem):
            filesystem = _patient(filesystem, attempts)
        return cls(root, filesystem, path)

    def __reduce__(self) -> tuple[Any, ...]:
        """As its address: pyarrow's own pickle of a file system leaves the retries out."""
        return type(self).at, (self.absolute,)

    @property
    def local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def absolute(self) -> str:
        """The root in words that mean the same in any working directory."""
        return self.uri if "://" in self.uri else self.path

    def named(self, name: str) -> str:
        """A file of the root, as a person would name it: without the options of a URI."""
        return f"{self.absolute.partition('?')[0]}/{name}"

    @contextmanager
    def _reached(self, what: str = "read") -> Iterator[None]:
        """Raises InputError, naming the root, if what is done inside fails."""
        try:
            yield
        except OSError as error:
            full = full_disk(error, Path(self.path if self.local else tempfile.gettempdir()))
            raise full or InputError(f"The root {self.uri} cannot be {what}: {in_words(error)}") from error

    def _full(self, name: str) -> str:
        return f"{self.path}/{name}" if name else self.path

    def _exists(self, name: str) -> bool:
        with self._reached():
            return bool(self.filesystem.get_file_info(self._full(name)).type != fs.FileType.NotFound)

    def _list(self, folder: str, *, recursive: bool = False) -> list[str]:
        """Names of what is in a folder, in their order; none if there is no such folder."""
        selector = fs.FileSelector(self._full(folder), recursive=recursive, allow_not_found=True)
        with self._reached():
            infos = self.filesystem.get_file_info(selector)
        return sorted(info.path[len(self.path) + 1 :] for info in infos)

    def _read(self, name: str) -> bytes:
        content = self._read_if_there(name)
        if content is None:
            raise InputError(f"{self.named(name)} is missing.")
        return content

    def _read_if_there(self, name: str) -> bytes | None:
        def read() -> bytes:
            with self.filesystem.open_input_file(self._full(name)) as file:
                return bytes(file.read())

        with self._reached():
            try:
                return _answered(read)
            except FileNotFoundError:
                return None

    def _make_folder(self, name: str) -> None:
        """Object storage needs none."""
        if self.local:
            with self._reached("written"):
                self.filesystem.create_dir(self._full(name), recursive=True)

    def _write(self, name: str, content: bytes) -> None:
        """Whole or not at all, as objects are written anyway."""
        draft = f"{name}.{uuid.uuid4().hex[:8]}" if self.local else name
        with self._reached("written"):
            try:
                with self.filesystem.open_output_stream(self._full(draft)) as file:
                    file.write(content)
                if self.local:
                    self.filesystem.move(self._full(draft), self._full(name))
            except OSError:
                if self.local:
                    Path(self._full(draft)).unlink(missing_ok=True)
                raise

    def _download(self, name: str, into: Path) -> None:
        def download() -> None:
            # pyarrow's own download does not say that a disk is full
            with self.filesystem.open_input_file(self._full(name)) as file, into.open("wb") as local:
                shutil.copyfileobj(file, local, BLOCK)

        with self._reached():
            _answered(download)

    def _upload(self, path: Path, name: str) -> None:
        with (
            self._reached("written"),
            path.open("rb") as source,
            self.filesystem.open_output_stream(self._full(name)) as file,
        ):
            file.upload(source)

    def copy_folder(self, folder: Path, name: str) -> None:
        """Copy a folder of this machine into the root. Raises InputError if that cannot be done."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self._upload(path, f"{name}/{path.relative_to(folder).as_posix()}")

    def _delete(self, name: str) -> None:
        with self._reached("written"):
            self.filesystem.delete_file(self._full(name))

    def _delete_folder(self, name: str) -> None:
        """Another driver may be removing it, or writing into it, at this moment."""
        with suppress(OSError):
            self.filesystem.delete_dir(self._full(name))


def _answered(read: Callable[[], T]) -> T:
    """What is read. An answer such as 503 that is longer than what was asked for ends in an error that the
    AWS library does not try again, so it is done here."""
    for attempt in range(1, ATTEMPTS):
        try:
            return read()
        except OSError as error:
            if "Failed to flush response stream" not in str(error):
                raise
            time.sleep(0.025 * 2**attempt)
    return read()


def _patient(filesystem: fs.S3FileSystem, attempts: int) -> fs.S3FileSystem:
    """The same place, with two settings that a URI cannot hold.

    A delayed open writes up to 10 MB with one request; otherwise every small file would be an upload in
    parts, of which a kill leaves parts behind. The standard strategy of AWS is of no use: its budget of 100
    retries is never refilled by pyarrow.
    """
    _, (options,) = filesystem.__reduce__()
    patient = fs.AwsDefaultS3RetryStrategy(max_attempts=attempts)
    return fs.S3FileSystem(**options | {"retry_strategy": patient, "allow_delayed_open": True})

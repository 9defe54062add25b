"""What the test Hub knows: users, repositories with their commits, and the faults that it is to show."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.message import Message
from fnmatch import fnmatch
from functools import cached_property
from hashlib import sha1, sha256
from threading import RLock

Files = dict[str, bytes]

LARGE = 10 * 2**20
ATTRIBUTES = "".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n"
    for suffix in ("arrow", "bin", "gz", "h5", "npy", "onnx", "parquet", "pt", "safetensors", "tar", "zip", "zst")
)


@dataclass(frozen=True)
class User:
    """A user with one token. `role`: of the token, `read`, `write` or `fineGrained`, which here has no right at all."""

    name: str
    token: str = field(repr=False)
    role: str = "write"
    organisations: tuple[str, ...] = ()

    def owns(self, repository: str) -> bool:
        """Whether the repository `owner/name` is the user's or an organisation's of theirs."""
        return repository.split("/")[0] in (self.name, *self.organisations)

    def may_read(self, repository: str) -> bool:
        """Whether the token shows them a private repository."""
        return self.owns(repository) and self.role != "fineGrained"

    def may_write(self, repository: str) -> bool:
        """Whether the token lets them make and change the repository."""
        return self.owns(repository) and self.role == "write"


@dataclass(frozen=True)
class File:
    """A file of a commit. `lfs`: whether git has a pointer in its place."""

    data: bytes
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        """The name of the file in LFS."""
        return sha256(self.data).hexdigest()

    @cached_property
    def blob(self) -> bytes:
        """What git has: the data, or the pointer."""
        if not self.lfs:
            return self.data
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()

    @cached_property
    def blob_id(self) -> str:
        """The name of the file in git."""
        return sha1(b"blob %d\0" % len(self.blob) + self.blob).hexdigest()


@dataclass(frozen=True)
class Commit:
    """All files at one time, in their order. `parent`: the sha of the commit before, empty for the first."""

    sha: str
    parent: str
    title: str
    message: str
    files: dict[str, File]


@dataclass
class Repository:
    """A dataset or a model. `branches`, `tags`: to sha; `objects`: what LFS has, by sha256; `gated`: the status that a
    request for a file is refused with, 401 (log in) or 403 (accept the licence)."""

    kind: str
    name: str
    private: bool = False
    gated: int | None = None
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    objects: Files = field(default_factory=dict)

    def commit(self, files: Files, branch: str = "main") -> str:
        """Makes a commit of these files, and of no others, the head of a branch; returns its sha. Files go to LFS by
        the same rule as those of clients."""
        made = {path: File(data, self.to_lfs(path, len(data), data[:512])) for path, data in files.items()}
        self.objects |= {file.sha256: file.data for file in made.values() if file.lfs}
        return self.add(made, branch).sha

    def add(self, files: dict[str, File], branch: str, title: str = "A commit", message: str = "") -> Commit:
        """The same of files that are stored. Equal files and words on equal parents give equal commits."""
        parent = self.branches.get(branch, "")
        tree = "".join(f"{path} {file.blob_id}\n" for path, file in sorted(files.items()))
        sha = sha1(f"{self.name}\n{parent}\n{title}\n{message}\n{tree}".encode()).hexdigest()
        self.commits[sha] = Commit(sha, parent, title, message, dict(files))
        self.branches[branch] = sha
        return self.commits[sha]

    def sha(self, revision: str) -> str | None:
        """The commit that a revision names."""
        return revision if revision in self.commits else self.branches.get(revision, self.tags.get(revision))

    def files(self, revision: str = "main") -> Files:
        """What the files of a revision hold."""
        return {path: file.data for path, file in self.commits[self.sha(revision) or ""].files.items()}

    def to_lfs(self, path: str, size: int, sample: bytes) -> bool:
        """Whether a new file goes to LFS: for .gitattributes on `main`, for its size or for bytes that are no text."""
        head = self.commits.get(self.branches.get("main", ""))
        attributes = head.files.get(".gitattributes") if head else None
        lines = attributes.data.decode() if attributes else ATTRIBUTES
        patterns = [line.split()[0] for line in lines.splitlines() if "filter=lfs" in line]
        named = any(fnmatch(path, pattern) or fnmatch(path.split("/")[-1], pattern) for pattern in patterns)
        return size > 0 and (named or size > LARGE or b"\0" in sample)


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of a method whose path `path` (a regex) is found in.

    `status`: it is answered with this error; nothing is done. `cut`: after so many bytes the Hub hangs up: of the
    body where the request has one, and nothing is done, else of the answer. `lost`: it is done, and never answered.
    """

    method: str
    path: str
    status: int | None = None
    cut: int | None = None
    lost: bool = False
    times: int = 1
    message: str = ""


@dataclass(frozen=True)
class Request:
    """`path` is as sent, percent signs and all; `token`: of the header, None without."""

    method: str
    path: str
    query: str
    token: str | None = field(repr=False)
    headers: Message = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass
class Hub:
    """`storage`: the address that LFS objects lie at, another than the Hub's as with the real one.

    `faults`: what is to go wrong, the first that fits first; `card_errors`: why cards are refused. `asked`: method and
    path of every request so far; `requests`: all of them.
    """

    address: str = ""
    storage: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict, repr=False)
    faults: list[Fault] = field(default_factory=list)
    card_errors: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    lock: RLock = field(default_factory=RLock)

    def dataset(self, name: str) -> Repository:
        """The dataset `owner/name`, made where it is not there."""
        return self.repositories.setdefault(("datasets", name), Repository("datasets", name))

    def model(self, name: str) -> Repository:
        """The model `owner/name`, made where it is not there."""
        return self.repositories.setdefault(("models", name), Repository("models", name))

    def user(self, name: str, token: str, role: str = "write", organisations: Iterable[str] = ()) -> None:
        """Adds a user; or a further token of one."""
        self.users[token] = User(name, token, role, tuple(organisations))

    def fault(self, method: str, path: str) -> Fault | None:
        """What goes wrong with this request; counts it."""
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

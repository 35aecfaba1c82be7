"""Snapshots of the record in a private dataset repository on the Hugging Face Hub, for hosts whose disk is emptied.

What is pushed is an archive: JSON lines, all of one moment. The live database file never leaves the machine.
"""

import filecmp
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitInfo, CommitScheduler, HfApi, get_token
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # that of the client it was built with

from steering.errors import SettingsError
from storage.database import Database
from storage.exchange.archive import MANIFEST, export_archive, import_archive, is_empty

FOLDER = "snapshot"
EVERY_MINUTES = 5
LAST_PUSH_SECONDS = 60.0
_KIND = "dataset"

logger = logging.getLogger(__name__)


@contextmanager
def pushing_snapshots(
    database: Database, home: Path, repository: str | None, api: HfApi | None = None
) -> Iterator[None]:
    """While the block runs, push what is new every few minutes, and once more at its end; nothing without a repository.

    What is pushed lies in a folder below ``home`` only while the block runs: names and judgements that are deleted
    later would stay in it.

    The repository is made, private, if there is none. An empty database is filled from its snapshot first: after a
    restart on an empty disk the next push would otherwise put nothing in the place of everything.

    Raises:
        SettingsError: there is no token, or the repository cannot be reached or written, or is public.
        InputError: the repository's snapshot is damaged or of another version of Tiller.
        StorageError: the database cannot be read or written.
    """
    if repository is None:
        _remove(home / FOLDER)  # of an earlier run that was killed
        yield
        return
    snapshots = _opened(database, home / FOLDER, repository, api or HfApi())
    try:
        yield
    finally:
        snapshots.finish()


class Snapshots(CommitScheduler):
    """Pushes ``folder`` as CommitScheduler does, and brings it up to date with the database before each push."""

    def __init__(self, database: Database, folder: Path, repository: str, api: HfApi) -> None:
        self._database = database
        super().__init__(
            repo_id=repository,
            folder_path=folder,
            every=EVERY_MINUTES,
            private=True,
            repo_type=_KIND,
            hf_api=api,
        )

    def push_to_hub(self) -> CommitInfo | None:
        """Write the archive of this moment and push what changed of it as one commit."""
        with tempfile.TemporaryDirectory(prefix=f".{FOLDER}-", dir=self.folder_path.parent) as working:
            archive = Path(working) / "archive"
            export_archive(self._database, archive)
            for fresh in archive.iterdir():
                pushed = self.folder_path / fresh.name
                if not pushed.exists() or not filecmp.cmp(fresh, pushed, shallow=False):
                    fresh.replace(pushed)
        return super().push_to_hub()

    def finish(self) -> None:
        """Push a last time, stop and remove the folder; a push that fails is told and keeps nobody from stopping."""
        try:
            self.trigger().result(LAST_PUSH_SECONDS)
        except Exception as error:  # noqa: BLE001 - the page is over; what is left is to say what is missing
            logger.error("the last snapshot was not pushed: %s", error)
        finally:
            self.stop()
            _remove(self.folder_path)


def _opened(database: Database, folder: Path, repository: str, api: HfApi) -> Snapshots:
    """Check the repository, bring its snapshot back where the database is empty, and begin to push."""
    if get_token() is None:
        raise SettingsError(
            f"Snapshots cannot be pushed to {repository}: there is no Hugging Face token.",
            hint="Set HF_TOKEN to a token that may write there, or leave out --snapshot-repo.",
        )
    try:
        api.create_repo(repository, private=True, repo_type=_KIND, exist_ok=True)
        if not api.repo_info(repository, repo_type=_KIND).private:
            raise SettingsError(
                f"The dataset repository {repository} is public; snapshots hold names and key hashes.",
                hint="Make it private in its settings on the Hub, or name another one with --snapshot-repo.",
            )
        if is_empty(database):
            _bring_back(database, repository, api)
        _remove(folder)  # of an earlier start, perhaps with another database
        return Snapshots(database, folder, repository, api)
    except (HTTPError, OSError, ValueError) as error:
        raise SettingsError(
            f"Snapshots cannot be pushed to {repository}: {error}",
            hint="Look at the name after --snapshot-repo (OWNER/NAME), at HF_TOKEN's rights, and at the connection.",
        ) from error


def _remove(folder: Path) -> None:
    """Remove what was pushed from here, and what a push that was killed has left beside it."""
    for left in (folder, *folder.parent.glob(f".{FOLDER}-*")):
        shutil.rmtree(left, ignore_errors=True)


def _bring_back(database: Database, repository: str, api: HfApi) -> None:
    with tempfile.TemporaryDirectory(prefix="tiller-snapshot-") as working:
        folder = Path(api.snapshot_download(repository, repo_type=_KIND, local_dir=working))
        if (folder / MANIFEST).is_file():
            n_rows = import_archive(database, folder)
            logger.info("brought %d judgements back from %s", n_rows["judgements"], repository)

"""The page of a Space in a process of its own, for Gradio reads what a Space is when it is imported.

python -m tests.ui.judge.space HOME PORT
"""

import sys
from pathlib import Path

from storage.database import open_database
from storage.sql_repository import SqlRepository
from storage.sql_studies import SqlStudies
from tests.ui.fakes import ScriptedEngine
from ui.page import Backing, open_page
from ui.settings import Settings

if __name__ == "__main__":
    settings = Settings(home=Path(sys.argv[1]), port=int(sys.argv[2]))
    with open_database(settings.database_url) as database:
        open_page(Backing(ScriptedEngine(), SqlRepository(database), settings, SqlStudies(database)))
        print("serving", flush=True)
        sys.stdin.read()

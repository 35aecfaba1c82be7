"""Judges that talk to a served page over HTTP as its own script does, without a browser."""

import html
import json
import re
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from storage.records import new_id

_ITEM = re.compile(r'data-item="([0-9a-f]{32})"')


@dataclass
class HttpJudge:
    """One open page. ``saves`` are the seconds each save took, as the judge waits for them."""

    base_url: str
    name: str
    study_id: str
    session_hash: str = field(default_factory=new_id)
    saves: list[float] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    who: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        with urllib.request.urlopen(f"{self.base_url}/config") as answer:
            dependencies = json.load(answer)["dependencies"]
        # Those of this page come last; the Steer page has an `opened` of its own.
        self._events = {entry["api_name"].split("_")[0]: entry for entry in dependencies}

    def event(self, name: str) -> int:
        """The number of an event of the page."""
        return int(self._events[name]["id"])

    def sit_down(self) -> str | None:
        """Open the page and start; the first item's id."""
        opened = self._call("opened", None)
        token = next(value for value in opened if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value))
        self.who = [token, self.study_id, self.name]
        return self._item_of(self._call("start", *self.who, False))

    def save(self, item_id: str, choice: str) -> str | None:
        """Answer the item; the next one's id."""
        sent = {"item": item_id, "key": new_id(), "answers": [{"choice": choice}]}
        started = time.perf_counter()
        shown = self._call("save", *self.who, json.dumps(sent), None)
        self.saves.append(time.perf_counter() - started)
        self.items.append(item_id)
        return self._item_of(shown)

    def _call(self, name: str, *data: object) -> list[Any]:
        body = {"data": data, "fn_index": self.event(name), "session_hash": self.session_hash}
        request = urllib.request.Request(
            f"{self.base_url}/gradio_api/run/predict",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Origin": self.base_url},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return list(json.load(answer)["data"])

    @staticmethod
    def _item_of(shown: list[Any]) -> str | None:
        said = html.unescape(json.dumps(shown))
        assert "tiller-message" not in said, said
        found = _ITEM.search(said.replace('\\"', '"'))
        return found.group(1) if found else None

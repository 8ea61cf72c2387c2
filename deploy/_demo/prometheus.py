"""Asking Prometheus, as anybody would."""

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

__all__ = ["Point", "newest"]

TIMEOUT_S = 5
LOOK_BACK = "30s"


@dataclass(frozen=True)
class Point:
    """One sample: Prometheus' own time of it (Unix seconds) and its value."""

    t: float
    value: float


def newest(url: str, series: str) -> Point | None:
    """The newest sample of the one series that a selector finds; None for none, several, or no answer.

    Asked for as a range: the time in the answer to an instant query is when it was asked, which may be after the
    controller has seen the same sample and acted on it.
    """
    address = f"{url}/api/v1/query?{urllib.parse.urlencode({'query': f'{series}[{LOOK_BACK}]'})}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=TIMEOUT_S) as answer:
            result = json.load(answer)["data"]["result"]
    except (OSError, urllib.error.URLError, ValueError, KeyError):
        return None
    if len(result) != 1:
        return None
    t, text = result[0]["values"][-1]
    return Point(float(t), float(text))

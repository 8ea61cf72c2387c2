"""What is asked of Prometheus (https://prometheus.io/docs/prometheus/latest/querying/api/)."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from _check.template import Window

__all__ = ["Failed", "Prometheus", "Series"]


@dataclass(frozen=True)
class Series:
    """Labels, and samples as (Unix seconds, value)."""

    labels: Mapping[str, str]
    samples: Sequence[tuple[float, float]]


class Failed(Exception):
    """Prometheus did not answer, or refused the query; the text says what it said."""


class Prometheus:
    """One server."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def instant(self, expr: str, t: float) -> list[Series]:
        """Every series at that time, one sample each. Raises Failed."""
        data = self._get("query", query=expr, time=f"{t:.3f}")
        if data["resultType"] == "vector":
            return [Series(one["metric"], [_sample(one["value"])]) for one in data["result"]]
        return [Series({}, [_sample(data["result"])])] if data["resultType"] == "scalar" else []

    def over(self, expr: str, window: Window) -> list[Series]:
        """Every series in that window. Raises Failed."""
        times = {"start": f"{window.start:.3f}", "end": f"{window.end:.3f}", "step": f"{window.step_s:.3f}"}
        data = self._get("query_range", query=expr, **times)
        return [Series(one["metric"], [_sample(value) for value in one["values"]]) for one in data["result"]]

    def label_values(self, label: str, selector: str, window: Window) -> list[str]:
        """Of the series that there were in that window; all of them without a selector. Raises Failed."""
        asked = {"match[]": selector} if selector else {}
        asked |= {"start": f"{window.start:.3f}", "end": f"{window.end:.3f}"}
        return [str(value) for value in self._get(f"label/{label}/values", **asked)]

    def _get(self, path: str, **asked: str) -> Any:
        address = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
        try:
            with self._opener.open(address, timeout=self._timeout_s) as answer:
                document = json.load(answer)
        except urllib.error.HTTPError as error:
            raise Failed(_said(error)) from error
        except (OSError, ValueError) as error:
            raise Failed(str(error)) from error
        return document["data"]


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(error)


def _sample(pair: Any) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])

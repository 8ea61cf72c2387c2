"""What Prometheus' HTTP API answers to an instant query, taken apart. Pure: bytes in, samples out.

Format: Prometheus documentation, "HTTP API", sections "Format overview" and "Expression query result formats".
"""

from __future__ import annotations

import json
from typing import Any

from offloader.errors import PrometheusError
from offloader.ports import Sample

__all__ = ["envelope", "samples", "warnings"]

_SHOWN = 200


def envelope(code: int, body: bytes) -> dict[str, Any]:
    """The whole document of a successful answer. Raises PrometheusError, in Prometheus' own words where it has some."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PrometheusError(f"answered {code} with something that is not JSON: {_start(body)}") from error
    if not isinstance(document, dict):
        raise PrometheusError(f"answered {code} with JSON that is no object: {_start(body)}")
    if document.get("status") == "error":
        raise PrometheusError(f"{document.get('errorType')}: {document.get('error')}"[:1000])
    if code != 200 or document.get("status") != "success":  # noqa: PLR2004 -- HTTP's OK
        raise PrometheusError(f"answered {code}: {_start(body)}")
    data = document.get("data")
    if not isinstance(data, dict) or "result" not in data:
        raise PrometheusError(f"answered without a result: {_start(body)}")
    return document


def warnings(document: dict[str, Any]) -> tuple[str, ...]:
    """The API's warnings: whoever sends some says that the result may not be the whole truth."""
    found = document.get("warnings") or ()
    return tuple(str(warning) for warning in found) if isinstance(found, (list, tuple)) else (str(found),)


def samples(document: dict[str, Any]) -> tuple[Sample, ...]:
    """The samples of a vector or scalar. Raises PrometheusError for any other type or an unexpected shape."""
    data = document["data"]
    kind, result = data.get("resultType"), data["result"]
    try:
        if kind == "vector":
            return tuple(_sample(item["metric"], item["value"]) for item in result)
        if kind == "scalar":
            return (_sample({}, result),)
    except (KeyError, TypeError, ValueError) as error:
        raise PrometheusError(f"the result is not as documented ({error!r}): {result!r:.{_SHOWN}}") from error
    raise PrometheusError(f"the query gives a {kind}, not one value per series")


def _sample(labels: dict[str, Any], point: list[Any]) -> Sample:
    t, value = point
    if not all(isinstance(text, str) for text in (*labels.values(), value)):
        raise TypeError("labels and values are strings")
    return Sample(dict(labels), float(value), float(t))


def _start(body: bytes) -> str:
    return repr(body[:_SHOWN].decode("utf-8", "replace"))

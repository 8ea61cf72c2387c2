"""The demo's verdict and final screen: everything in it was measured in this run."""

from typing import Any

from _demo.watch import ORDER, Seen, in_order

__all__ = ["document", "failures", "screen"]

Document = dict[str, Any]


def document(seen: Seen, witness: Document) -> Document:
    """The machine-readable report (`--json`)."""
    events = sorted(seen.timeline.items(), key=lambda item: (item[1], ORDER.index(item[0]) if item[0] in ORDER else 99))
    move = seen.move
    return {
        "timeline": [{"t": t, "event": name} for name, t in events],
        "move": {
            key: move[key] for key in ("id", "job", "pid", "source", "target", "strategy", "submission_id", "state")
        }
        if move
        else None,
        "pressure": {
            "before": seen.before.value if seen.before else None,
            "after": seen.after.value if seen.after else None,
        },
        "witness": {"chain": witness["chain"], "overlaps": witness["overlaps"], "running": witness["running"]},
    }


def failures(seen: Seen, witness: Document) -> list[str]:
    """What of the main job did not happen; empty: all of it did."""
    found = []
    if seen.move is None:
        found.append("nothing was moved")
    elif seen.move["state"] != "done":
        found.append(f"the move ended {seen.move['state']}: {seen.move['detail']}")
    missing = [name for name in ORDER if name not in seen.timeline]
    if missing:
        found.append(f"never seen: {', '.join(missing)}")
    elif not in_order(seen.timeline):
        found.append("the events happened in another order")
    nodes = [copy["node"] for copy in witness["chain"]]
    if seen.move is not None and nodes != [seen.move["source"], seen.move["target"]]:
        found.append(f"the witness saw copies on {', '.join(nodes) or 'no node'}")
    if len(witness["running"]) != 1:
        found.append(f"the witness sees {len(witness['running'])} running copies")
    if witness["overlaps"]:
        found.append(f"the witness saw {witness['overlaps']} overlaps: two copies ran at once")
    return found


def screen(seen: Seen, witness: Document) -> list[str]:
    """The last screen of a good run."""
    times, move = seen.timeline, seen.move
    assert move is not None
    assert seen.before is not None
    assert seen.after is not None
    first, second = witness["chain"][0], witness["chain"][1]
    gap = second["first_t"] - first["last_t"]
    rows = (
        ("head CPU", f"{seen.before.value:.0%} before, {seen.after.value:.0%} after, as Prometheus returned it"),
        ("who", f"{move['name']} (pid {move['pid']}), {move['source']} -> {move['target']}"),
        ("Ray job", move["submission_id"]),
        (
            "copies",
            f"{len(witness['chain'])}, one after the other, {witness['overlaps']} overlaps (the witness counted)",
        ),
        ("stood still", f"{gap:.2f} s from the first copy's last sign of life to the second one's first"),
        ("to decide", f"{times['decided'] - times['above_threshold']:.1f} s from above the threshold to the decision"),
        ("to be ready", f"{times['held'] - times['decided']:.1f} s, while the original ran on"),
        ("to hand over", f"{times['committed'] - times['frozen']:.1f} s, most of it proving the successor alive"),
    )
    return [f"{name:<14} {text}" for name, text in rows]

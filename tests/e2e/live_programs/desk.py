"""Somebody at a terminal of this node: a shell with job control; keys come in lines of JSON, the screen goes out."""

import base64
import fcntl
import json
import os
import select
import struct
import sys
import termios

SHELL = ["bash", "--norc", "--noprofile", "--noediting", "-i"]


def main() -> None:
    near, far = os.openpty()
    resize(near, 24, 80)
    if os.fork() == 0:
        os.close(near)
        os.setsid()
        fcntl.ioctl(far, termios.TIOCSCTTY, 0)
        for number in range(3):
            os.dup2(far, number)
        os.closerange(3, 1024)
        os.execvpe(SHELL[0], SHELL, {**os.environ, "PS1": "prompt> ", "TERM": "dumb"})
    os.close(far)
    requests = b""
    while True:
        ready, _, _ = select.select([0, near], [], [])
        if near in ready:
            try:
                data = os.read(near, 65536)
            except OSError:
                return  # the shell has ended
            while data:
                data = data[os.write(1, data) :]
        if 0 in ready:
            requests += os.read(0, 65536) or sys.exit()
            *lines, requests = requests.split(b"\n")
            for line in lines:
                obey(near, json.loads(line))


def obey(near: int, request: dict) -> None:
    if "size" in request:
        resize(near, *request["size"])
    keys = base64.b64decode(request.get("keys", ""))
    while keys:
        keys = keys[os.write(near, keys) :]


def resize(near: int, rows: int, columns: int) -> None:
    fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


main()

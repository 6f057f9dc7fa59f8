"""Runs a program on a terminal of its own, as somebody would who sits at it.

Standard input is JSON: argv, env, rows, columns, and steps, each with what to type (`send`), what to wait for (`expect`, a
regular expression in what came since the step before, without its escape sequences) and for how long (`seconds`). Standard output is JSON: what came in
each step, and the exit code; `failed` is the number of the step whose text did not come.
"""
import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time


def plain(raw):
    """What can be read of it: no escape sequences, no carriage returns."""
    return re.sub("\x1b\\[[0-9;?]*[A-Za-z]|\r", "", raw.decode(errors="replace"))


def main():
    job = json.load(sys.stdin)
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe(job["argv"][0], job["argv"], job["env"])
    size = struct.pack("HHHH", job.get("rows", 24), job.get("columns", 100), 0, 0)
    fcntl.ioctl(master, termios.TIOCSWINSZ, size)
    said, failed, ended = [], None, False
    for number, step in enumerate(job["steps"]):
        # Nobody types faster than the program has drawn its prompt.
        time.sleep(step.get("pause", 0.05))
        if step.get("send"):
            os.write(master, step["send"].encode())
        wanted = re.compile(step["expect"], re.S) if step.get("expect") else None
        text, until = b"", time.time() + step.get("seconds", 20)
        while not ended and time.time() < until:
            if wanted and wanted.search(plain(text)):
                break
            if select.select([master], [], [], 0.05)[0]:
                try:
                    piece = os.read(master, 65536)
                except OSError:
                    piece = b""
                ended = not piece
                text += piece
            elif wanted is None:
                break
        said.append(text.decode(errors="replace"))
        if wanted and not wanted.search(plain(text)):
            failed = number
            break
    code = None
    for _ in range(200):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        if failed is not None or not job.get("ends", True):
            os.kill(pid, 9)
        time.sleep(0.05)
    json.dump({"said": said, "failed": failed, "code": code}, sys.stdout)


main()

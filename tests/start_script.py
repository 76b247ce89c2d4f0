"""The script of ``killing.py`` as a process: ``python start_script.py FOLDER VARIANT PROCESSES``, started when told.

Each process prints one line of JSON: how many steps it trained, and the error that refused it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from killing import script
from torch.optim.optimizer import register_optimizer_step_post_hook

from sktorch_continue import CheckpointError

if __name__ == "__main__":
    torch.set_num_threads(1)
    steps: list[None] = []
    register_optimizer_step_post_hook(lambda *_: steps.append(None))
    for _ in range(int(sys.argv[3]) - 1):
        if os.fork() == 0:
            break
    os.write(1, b"ready\n")  # in one piece: the processes share the pipe
    sys.stdin.readline()
    refused = None
    try:
        script(Path(sys.argv[1]), sys.argv[2])
    except CheckpointError as error:
        refused = str(error)
    os.write(1, json.dumps({"steps": len(steps), "refused": refused}).encode() + b"\n")

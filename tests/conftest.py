"""Settings of the whole suite."""

import os
import signal

import torch

# Several workers share a few cores; threads of torch waiting for each other would cost minutes.
torch.set_num_threads(1)
os.environ["MPLBACKEND"] = "Agg"  # draw without a screen

# A shell that starts the suite in the background has it ignore Ctrl-C, which tests send to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

"""Settings of the whole suite."""

import os

import torch

# Several workers share a few cores; threads of torch waiting for each other would cost minutes.
torch.set_num_threads(1)
os.environ["MPLBACKEND"] = "Agg"  # draw without a screen

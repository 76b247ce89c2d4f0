"""Settings of the whole suite."""

import matplotlib
import torch

# Several workers share a few cores; threads of torch waiting for each other would cost minutes.
torch.set_num_threads(1)
matplotlib.use("Agg")

"""Checkpoints: a run on disk, whole or not there, without code inside. This room knows plain dictionaries only.

A checkpoint is a folder:

=========================  =============================================================================
``manifest.json``          format number, time, versions, a summary, size and SHA-256 of every other file,
                           and the SHA-256 of itself without that entry
``state.json``             everything that is no tensor, see :mod:`sktorch_continue.checkpoint.encoding`
``history.jsonl``          the rows of the history, one per line
``module.safetensors``     weights and buffers of the module under their plain names
``best.safetensors``       the best weights, where a callback keeps them
``training.safetensors``   every other tensor: optimizer, criterion, held-out rows
=========================  =============================================================================

A run folder holds the checkpoints of one run, ``epoch-000012-step-000000000180`` and so on, and a lock.
"""

from sktorch_continue.checkpoint.folder import RunFolder, read_newest
from sktorch_continue.checkpoint.reading import read_checkpoint
from sktorch_continue.checkpoint.writing import write_checkpoint

__all__ = ["RunFolder", "read_checkpoint", "read_newest", "write_checkpoint"]

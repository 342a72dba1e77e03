"""The engine behind a process boundary: Slicer's process never imports torch, and a crash here costs a message."""
